package floor

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// certificate is for the addresses of the first targets. file has it as PEM: it
// vouches for itself.
func certificate(t *testing.T, targets int) (c tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	for n := 1; n <= targets; n++ {
		template.IPAddresses = append(template.IPAddresses, peer.Host(n).AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// secureTargets are all targets, behind one port.
type secureTargets struct {
	port string

	mu       sync.Mutex
	states   []tls.ConnectionState // by handshake
	requests map[string]int        // by their first line
}

func serveTLS(t *testing.T, config *tls.Config) *secureTargets {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secureTargets{port: strconv.Itoa(l.Addr().(*net.TCPAddr).Port), requests: make(map[string]int)}
	serveOn(t, tls.NewListener(l, config), s.handle)
	return s
}

func (s *secureTargets) handle(c net.Conn) {
	conn := c.(*tls.Conn)
	if conn.Handshake() != nil {
		return
	}
	s.mu.Lock()
	s.states = append(s.states, conn.ConnectionState())
	s.mu.Unlock()
	in := bufio.NewReader(conn)
	for {
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		s.mu.Lock()
		s.requests[q.Method+" "+q.RequestURI]++
		s.mu.Unlock()
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// resumed counts the connections, and those that resumed a session.
func (s *secureTargets) resumed() (all, resumed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.states {
		if state.DidResume {
			resumed++
		}
	}
	return len(s.states), resumed
}

const secure = 4

func TestHTTPS(t *testing.T) {
	own, ca := certificate(t, secure)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{own}})
	r, err := runFloor(t, "https", "--port", s.port, "--ca", ca, "--targets", strconv.Itoa(secure), "--warm", "--updates", "2")
	if err != nil || r.Deliveries != 2*secure {
		t.Errorf("%+v, %v", r, err)
	}
	if all, resumed := s.resumed(); all != secure || resumed != 0 {
		t.Errorf("%d connections, %d resumed", all, resumed)
	}
	for n := 1; n <= secure; n++ {
		if got := s.requests["POST /t/"+strconv.Itoa(n)]; got != 3 {
			t.Errorf("target %d was told %d times", n, got)
		}
	}
	for _, state := range s.states {
		// What Go does by itself is what the engine does.
		if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("%x, %v", state.Version, state.CurveID)
		}
	}
}

func TestHTTPSResumes(t *testing.T) {
	own, ca := certificate(t, secure)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{own}})
	r, err := runFloor(t, "https", "--port", s.port, "--ca", ca, "--targets", strconv.Itoa(secure), "--resume")
	if err != nil || r.Deliveries != secure {
		t.Errorf("%+v, %v", r, err)
	}
	if all, resumed := s.resumed(); all != 2*secure || resumed != secure {
		t.Errorf("%d connections, %d resumed", all, resumed)
	}
}

func TestHTTPSRefusals(t *testing.T) {
	own, ca := certificate(t, secure-1)
	_, other := certificate(t, secure)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{own}, SessionTicketsDisabled: true})
	flags := []string{"https", "--port", s.port, "--targets", strconv.Itoa(secure), "--ca"}
	if r, err := runFloor(t, append(flags, ca)...); err == nil || r.Errors != 1 || r.Deliveries != secure-1 {
		t.Errorf("an address that the certificate does not have: %+v, %v", r, err)
	}
	if r, err := runFloor(t, append(flags, other)...); err == nil || r.Errors != secure {
		t.Errorf("nobody vouches for the certificate: %+v, %v", r, err)
	}
	flags[4] = strconv.Itoa(secure - 1)
	if r, err := runFloor(t, append(flags, ca, "--resume")...); err == nil || r.Errors != secure-1 || !strings.Contains(err.Error(), "resume") {
		t.Errorf("there are no tickets: %+v, %v", r, err)
	}
}

// With peers that wait for one handshake more than the gate lets in, none ever ends.
func TestGateBoundsHandshakes(t *testing.T) {
	const gate = 2
	own, ca := certificate(t, secure)
	var begun atomic.Int64
	all, over := make(chan struct{}), make(chan struct{})
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{own}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if begun.Add(1) == gate+1 {
			close(all)
		}
		select {
		case <-all:
		case <-over:
		}
		return nil, nil
	}})
	r, err := runFloor(t, "https", "--port", s.port, "--ca", ca, "--targets", strconv.Itoa(secure), "--gate", strconv.Itoa(gate), "--limit", "300ms")
	close(over)
	if n := begun.Load(); err == nil || r.Deliveries != 0 || n > gate {
		t.Errorf("%+v, %v: %d handshakes at once", r, err, n)
	}
}
