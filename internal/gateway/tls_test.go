package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/caller"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate; without an authority yet, one that signs itself.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<60)); err != nil {
		a.t.Fatal(err)
	}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

func (a *authority) client(name string) tls.Certificate {
	c, key := a.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// serve writes the files of a server with that name.
func (a *authority) serve(files TLSFiles, name string) {
	a.t.Helper()
	c, key := a.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(files.Cert, "CERTIFICATE", c.Raw)
	a.write(files.Key, "PRIVATE KEY", der)
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// secured is a fixture behind TLS, with a clock for its files.
type secured struct {
	*fixture
	files  TLSFiles
	server *authority
	addr   string
	mu     sync.Mutex
	now    time.Time
}

func (s *secured) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *secured) later() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(lookAgain)
}

// secure starts a gateway that knows clients of that authority as a source, by the
// name am.example.com.
func secure(t *testing.T, clients *authority) *secured {
	t.Helper()
	folder := t.TempDir()
	s := &secured{server: newAuthority(t, "server CA"), now: time.Now(),
		files: TLSFiles{Cert: filepath.Join(folder, "cert"), Key: filepath.Join(folder, "key"), ClientCA: filepath.Join(folder, "ca")}}
	s.server.serve(s.files, "one.example.com")
	clients.write(s.files.ClientCA, "CERTIFICATE", clients.cert.Raw)
	s.fixture = start(t, withTokens, func(f *fixture) {
		name, err := caller.ParseIdentity("dns:am.example.com")
		if err != nil {
			t.Fatal(err)
		}
		f.deps.Callers, err = caller.New(caller.Options{Log: f.deps.Log, Sources: []caller.Source{
			{Name: "am", Routes: []string{caller.Alerts}, Certificates: []caller.Identity{name}}}})
		if err != nil {
			t.Fatal(err)
		}
	})
	terms, err := NewTLS(s.files, s.deps.Log, s.clock)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(s.judged(New(s.deps, s.opt)), s.deps.Log)
	server.Listener = tls.NewListener(NewCrowd(server.Listener, s.deps.Log), terms)
	server.Start()
	t.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	return s
}

// ask posts an alert over a new connection and returns the status and who answered;
// an error of the handshake or of the request it is sent with.
func (s *secured) ask(certificates ...tls.Certificate) (status int, name string, err error) {
	s.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.server.cert)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates,
		// The name is looked at by the test.
		InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
			name = c.PeerCertificates[0].DNSNames[0]
			_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		}}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.addr+"/v1/alerts", strings.NewReader(notice))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, name, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, name, err
}

func TestClientCertificates(t *testing.T) {
	ours := newAuthority(t, "ours")
	s := secure(t, ours)
	for name, tc := range map[string]struct {
		client []tls.Certificate
		want   int
	}{
		"the source":   {[]tls.Certificate{ours.client("am.example.com")}, 202},
		"another name": {[]tls.Certificate{ours.client("pm.example.com")}, 401},
		"none":         {nil, 401},
	} {
		if status, _, err := s.ask(tc.client...); err != nil || status != tc.want {
			t.Errorf("%s: %d, %v; want %d", name, status, err, tc.want)
		}
	}
	if status, _, err := s.ask(newAuthority(t, "ours").client("am.example.com")); err == nil {
		t.Errorf("a stranger's authority: %d", status)
	}
	expired, key := ours.sign(&x509.Certificate{DNSNames: []string{"am.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	if status, _, err := s.ask(tls.Certificate{Certificate: [][]byte{expired.Raw}, PrivateKey: key}); err == nil {
		t.Errorf("an expired certificate: %d", status)
	}
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	s := secure(t, ours)
	wants := func(name string, client *authority, status int) {
		t.Helper()
		got, from, err := s.ask(client.client("am.example.com"))
		if err != nil || got != status || from != name {
			t.Errorf("%d from %s, %v; want %d from %s", got, from, err, status, name)
		}
	}
	wants("one.example.com", ours, 202)

	s.server.serve(s.files, "another-name.example.com")
	wants("one.example.com", ours, 202) // not looked at yet
	s.later()
	wants("another-name.example.com", ours, 202)

	others.write(s.files.ClientCA, "CERTIFICATE", others.cert.Raw)
	s.later()
	wants("another-name.example.com", ours, 401) // a client keeps back what isn't believed
	wants("another-name.example.com", others, 202)

	// A key that doesn't belong to the certificate, as between two writes.
	if err := os.WriteFile(s.files.Key, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.later()
		wants("another-name.example.com", others, 202)
	}
	if log := s.log.String(); strings.Count(log, "can't be used") != 1 || strings.Contains(log, "hush") {
		t.Errorf("the log is %s", log)
	}
	s.server.serve(s.files, "third.example.com")
	s.later()
	wants("third.example.com", others, 202)
}

func TestTLSFilesAtFault(t *testing.T) {
	folder := t.TempDir()
	good := TLSFiles{Cert: filepath.Join(folder, "cert"), Key: filepath.Join(folder, "key")}
	newAuthority(t, "CA").serve(good, "one.example.com")
	empty := filepath.Join(folder, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]TLSFiles{
		"tls.cert and tls.key: ": {Cert: good.Cert, Key: empty},
		"no such file":           {Cert: filepath.Join(folder, "none"), Key: good.Key},
		"tls.client_ca: ":        {Cert: good.Cert, Key: good.Key, ClientCA: filepath.Join(folder, "none")},
		"it has to be PEM":       {Cert: good.Cert, Key: good.Key, ClientCA: empty},
	} {
		if _, err := NewTLS(files, slog.New(slog.DiscardHandler), time.Now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := NewTLS(good, slog.New(slog.DiscardHandler), time.Now); err != nil {
		t.Error(err)
	}
}

// TestPlainHTTPOverTLS: who forgets the s is told.
func TestPlainHTTPOverTLS(t *testing.T) {
	s := secure(t, newAuthority(t, "ours"))
	response, err := http.Get("http://" + s.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", response.StatusCode)
	}
	if _, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("TLS 1.1: %v", err)
	}
}
