package crash

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// rareRetries keeps breakers out of a short fault: they open at five failures in a row.
const rareRetries = "retry: {base: 5s, cap: 5s, expires_after: 1h}\n"

// odd adds so many targets whose addresses are elsewhere.
func (tr *trial) odd(n int, url func(n int) string) {
	tr.t.Helper()
	var lines strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&lines, `{"channel":"webhook","address":%q}`+"\n", url(i))
	}
	if err := tr.api.importTargets(tr.t.Context(), strings.NewReader(lines.String()), n); err != nil {
		tr.t.Fatal(err)
	}
}

// newestIs waits until so many were told of the newest update.
func (tr *trial) newestIs(delivered int) {
	tr.t.Helper()
	newest := tr.updates[len(tr.updates)-1]
	eventually(tr.t, fmt.Sprintf("%d are told of %s", delivered, newest.id), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		updates, err := tr.api.incident(ctx, newest.incident)
		for _, u := range updates {
			if u.UpdateID == newest.id {
				return u.Progress["webhook"]["delivered"] == delivered && u.Progress["webhook"]["open"] == 0, fmt.Errorf("it has come to %+v", u)
			}
		}
		return false, err
	})
}

// failures counts the attempts so far that failed for a while.
func (tr *trial) failures() (n int) {
	tr.t.Helper()
	eventually(tr.t, "the engine counts", 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		var err error
		n, err = tr.api.metric(ctx, `tocsin_attempts_total{channel="webhook",class="temporary"}`)
		return err == nil, err
	})
	return n
}

// failed waits until so many attempts have failed.
func (tr *trial) failed(wanted int) {
	tr.t.Helper()
	eventually(tr.t, fmt.Sprintf("%d attempts fail", wanted), 50*time.Millisecond, func(context.Context) (bool, error) {
		n := tr.failures()
		return n >= wanted, fmt.Errorf("%d did", n)
	})
}

// tally counts what a receiver of one's own got, by address.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *tally) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[string]int)
	}
	c.seen[r.Host+" "+r.Header.Get("Webhook-Id")]++
}

func (c *tally) each() (requests, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.seen {
		requests, most = requests+n, max(most, n)
	}
	return requests, most
}

// Hosts whose machines take no connections: their queue is full, nobody answers. All
// others are told of this update and the next meanwhile; once the hosts take
// connections again they are told of the newest, once.
func TestFault_24_BlackHoledHosts(t *testing.T) {
	t.Parallel()
	const lost = 40
	hole := newBlackHole(t)
	tr := beginWith(t, "sqlite", "slow=10:100ms-300ms", time.Hour, few, func(e *engine) {
		e.allow(fmt.Sprintf("127.77.0.0/16:%d", hole.port))
		e.configure(rareRetries)
	})
	tr.odd(lost, func(n int) string { return fmt.Sprintf("http://127.77.0.%d:%d/", n, hole.port) })
	tr.publishNow(few)
	tr.publishNow(few)
	tr.failed(lost) // waited for in vain
	var got tally
	hole.open(t, &got)
	tr.newestIs(few + lost)
	if requests, most := got.each(); requests != lost || most != 1 {
		t.Errorf("%d hosts got %d requests, one of them %d", lost, requests, most)
	}
}

// blackHole listens at all loopback addresses, and its queue is full.
type blackHole struct {
	listener net.Listener
	port     int
	inQueue  []net.Conn
}

func newBlackHole(t *testing.T) *blackHole {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "black hole")
	defer file.Close()
	h := &blackHole{}
	if h.listener, err = net.FileListener(file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.listener.Close() })
	h.port = h.listener.Addr().(*net.TCPAddr).Port
	for {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", h.port), 200*time.Millisecond)
		if err != nil {
			return h // full
		}
		h.inQueue = append(h.inQueue, c)
		t.Cleanup(func() { _ = c.Close() })
	}
}

// open has the hosts answer.
func (h *blackHole) open(t *testing.T, handler http.Handler) {
	for _, c := range h.inQueue {
		_ = c.Close() // no request of the engine's
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close() // in the place of the one it made
	server.Listener = h.listener
	server.Start()
	t.Cleanup(server.Close)
}

// A host's certificate runs out while the engine runs and its connections are renewed.
// Not one request goes out under it; with a new certificate the newest update arrives.
func TestFault_27_CertificateExpires(t *testing.T) {
	t.Parallel()
	const secure = 20
	issuer := newIssuer(t)
	var got tally
	var certificate atomic.Pointer[tls.Certificate]
	certificate.Store(issuer.issue(t, time.Now().Add(time.Hour)))
	host := httptest.NewUnstartedServer(&got)
	host.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the matter of the test
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = host.Listener.Close()
	host.Listener = tls.NewListener(listener, &tls.Config{
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Load(), nil },
		SessionTicketsDisabled: true, // so that each connection shows the certificate
	})
	host.Start()
	t.Cleanup(host.Close)
	port := listener.Addr().(*net.TCPAddr).Port
	tr := beginWith(t, "sqlite", "", time.Hour, few, func(e *engine) {
		e.allow(fmt.Sprintf("127.66.0.0/16:%d", port))
		e.configure(rareRetries)
		e.environ = append(e.environ, "SSL_CERT_FILE="+issuer.file)
	})
	tr.odd(secure, func(n int) string { return fmt.Sprintf("https://127.66.0.%d:%d/", n, port) })
	tr.publishNow(few)
	tr.newestIs(few + secure)
	before, _ := got.each()
	failed := tr.failures()
	certificate.Store(issuer.issue(t, time.Now().Add(-time.Minute)))
	host.CloseClientConnections()
	tr.publishNow(few)
	tr.failed(failed + secure)
	if after, _ := got.each(); before != secure || after != before {
		t.Errorf("%d requests, then %d under a certificate that had expired", before, after-before)
	}
	certificate.Store(issuer.issue(t, time.Now().Add(time.Hour)))
	tr.newestIs(few + secure)
	if requests, most := got.each(); requests != 2*secure || most != 1 {
		t.Errorf("%d hosts got %d requests for two updates, one of them %d times", secure, requests, most)
	}
}

// issuer signs certificates of 127.66.0.1 and so on, and is known to who reads its file.
type issuer struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	file        string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{file: filepath.Join(t.TempDir(), "ca.pem")}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tocsin tests"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &i.key.PublicKey, i.key)
	if err == nil {
		i.certificate, err = x509.ParseCertificate(der)
	}
	if err == nil {
		err = os.WriteFile(i.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) issue(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: "a host"},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for n := byte(1); n <= 20; n++ {
		template.IPAddresses = append(template.IPAddresses, net.IPv4(127, 66, 0, n))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, &i.key.PublicKey, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key}
}
