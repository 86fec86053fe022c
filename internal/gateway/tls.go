package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSFiles name what the control listener speaks TLS with, all in PEM.
type TLSFiles struct {
	// Cert is the certificate, with those in between up to the root; Key is its key.
	Cert, Key string
	// ClientCA has the authorities whose clients' certificates are believed; "" asks
	// for none. A client may always come without one.
	ClientCA string
}

// lookAgain is how often files are looked at for a change, by handshakes.
const lookAgain = time.Second

// NewTLS reads the files. They are read again once they have changed, by the next
// handshake; while what is new can't be used, as between the change of a certificate
// and that of its key, what was last is, and the log says so once. clock returns the
// time.
func NewTLS(files TLSFiles, log *slog.Logger, clock func() time.Time) (*tls.Config, error) {
	c := &certificates{files: files, log: log}
	c.state = c.look()
	current, err := files.load()
	if err != nil {
		return nil, err
	}
	c.current, c.looked = current, clock()
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.latest(clock()), nil
		},
	}, nil
}

// load reads the files. Its errors name a file, and hold nothing of what is in it.
func (f TLSFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"}, // a stream of HTTP/2 would pass the limit of connections
	}
	if f.ClientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("tls.client_ca: there is no certificate in it; it has to be PEM")
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	return config, nil
}

// stamp tells whether a file is the same.
type stamp struct {
	changed time.Time
	size    int64
}

// certificates are what handshakes use. The lock is held while files are read: they
// are small, and seldom change.
type certificates struct {
	files TLSFiles
	log   *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	state   [3]stamp
	looked  time.Time
}

func (c *certificates) latest(now time.Time) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked).Abs() < lookAgain {
		return c.current
	}
	c.looked = now
	state := c.look()
	if state == c.state {
		return c.current
	}
	c.state = state
	changed, err := c.files.load()
	if err != nil {
		c.log.Error("the changed TLS files can't be used; the last ones stay in use until they are put right", "error", err)
		return c.current
	}
	c.log.Info("the TLS files have changed and are in use")
	c.current = changed
	return changed
}

// look is the state of the files; one that can't be looked at is as if it were empty.
func (c *certificates) look() (state [3]stamp) {
	for i, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			state[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return state
}
