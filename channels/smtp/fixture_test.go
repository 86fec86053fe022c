package smtp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a peer can say instead of a reply.
const (
	usual  = ""
	silent = "<silent>" // nothing, until the connection ends
	hangUp = "<hang up>"
	flood  = "<flood>" // the reply before it, then without end
	drip   = "<drip>"  // the same, one byte at a time
)

// peer plays a relay.
type peer struct {
	// offers are the extensions, on a line each.
	offers []string
	// answer says what to answer to the nth command of its kind, counted from 1 over
	// all connections: to "greeting", EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, "." and
	// so on.
	answer func(verb string, nth int) string
	// lax takes commands in any order.
	lax bool
	// tls is what STARTTLS is answered with.
	tls *tls.Config

	mu    sync.Mutex
	conns int
	seen  map[string]int
	log   []string
	mails []envelopeAndMail
}

type envelopeAndMail struct{ from, to, content string }

// start returns the relay's URL, with tls=none.
func (p *peer) start(t testing.TB) string {
	p.seen = map[string]int{}
	return "smtp://" + channeltest.Serve(t, p.talk) + "?tls=none"
}

func (p *peer) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}

func (p *peer) received() []envelopeAndMail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]envelopeAndMail(nil), p.mails...)
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// saw notes a command and returns what to answer.
func (p *peer) saw(verb, line string) string {
	p.mu.Lock()
	p.seen[verb]++
	n := p.seen[verb]
	p.log = append(p.log, line)
	p.mu.Unlock()
	if p.answer == nil {
		return usual
	}
	return p.answer(verb, n)
}

func (p *peer) talk(c net.Conn) {
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	r := bufio.NewReader(c)
	if !say(c, r, p.saw("greeting", "greeting"), "220 relay.example.com ESMTP") {
		return
	}
	var current envelopeAndMail
	var opened, taken bool // MAIL and RCPT were
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		own := p.saw(verb, line)
		answer := "250 2.0.0 Ok"
		switch verb {
		case "EHLO":
			answer = "250-relay.example.com\r\n"
			for _, offer := range p.offers {
				answer += "250-" + offer + "\r\n"
			}
			answer += "250 8BITMIME"
		case "MAIL":
			if opened && !p.lax {
				answer = "503 5.5.1 nested MAIL command"
			}
			opened = opened || own == usual
			current = envelopeAndMail{from: line}
		case "RCPT":
			opened = opened || p.lax
			if !opened {
				answer = "503 5.5.1 need MAIL"
			}
			taken = opened && (own == usual || own[0] == '2')
			current.to = strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">")
		case "DATA":
			answer = "354 go on"
			if !taken {
				answer = "554 5.5.1 no valid recipients"
			}
		case "RSET":
			opened, taken = false, false
		case "QUIT":
			answer = "221 bye"
		case "STARTTLS":
			answer = "220 go on"
		case "AUTH":
			answer = "235 2.7.0 welcome"
		}
		if !say(c, r, own, answer) {
			return
		}
		switch {
		case verb == "QUIT":
			return
		case verb == "STARTTLS" && (own == usual || own[0] == '2'):
			secure := tls.Server(c, p.tls)
			if secure.Handshake() != nil {
				return
			}
			c, r = secure, bufio.NewReader(secure)
		case verb == "DATA" && (own == usual && taken || own != usual && own[0] == '3'):
			content, ok := readContent(r)
			if !ok {
				return
			}
			opened, taken = false, false
			current.content = content
			p.mu.Lock()
			p.mails = append(p.mails, current)
			p.mu.Unlock()
			if !say(c, r, p.saw(".", "."), "250 2.0.0 Ok: queued as 4F1") {
				return
			}
		}
	}
}

// readContent reads a message with its last line of one dot, and takes that and the
// dots that were added off.
func readContent(r *bufio.Reader) (string, bool) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", false
		}
		if line == ".\r\n" {
			return b.String(), true
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// say answers and reports whether the conversation goes on.
func say(c net.Conn, r io.Reader, own, otherwise string) bool {
	if own == usual {
		own = otherwise
	}
	text, endless := strings.CutSuffix(own, flood)
	text, slow := strings.CutSuffix(text, drip)
	switch {
	case own == hangUp:
		return false
	case own == silent:
		_, _ = io.Copy(io.Discard, r)
		return false
	case endless:
		for _, err := io.WriteString(c, text); err == nil; {
			_, err = io.WriteString(c, "and so on and on ")
		}
		return false
	case slow:
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, err := io.WriteString(c, text); err == nil; <-tick.C {
			_, err = io.WriteString(c, "x")
		}
		return false
	}
	_, err := io.WriteString(c, own+"\r\n")
	return err == nil
}

const sampleFrom = `"Example Status" <status@example.com>`

// newChannel returns a channel with one relay at url and timeouts that no relay that
// answers meets.
func newChannel(t testing.TB, url string, change func(*Config, *egress.Config)) *Channel {
	t.Helper()
	c, err := tryChannel(t, url, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryChannel(t testing.TB, url string, change func(*Config, *egress.Config)) (*Channel, error) {
	t.Helper()
	policy, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	out := egress.Config{Policy: policy, Gate: egress.NewGate(64, 16), Budget: egress.NewBudget(2000, time.Minute), Lookup: channeltest.NoNames}
	config := Defaults()
	config.Hello = "tocsin.example.com"
	patience := channeltest.Accept.Patience()
	config.ConnectTimeout, config.Timeout, config.FinalTimeout = patience, patience, patience
	config.Relays = []Relay{{Name: "main", URL: url, From: sampleFrom}}
	if change != nil {
		change(&config, &out)
	}
	c, err := New(config, egress.NewDialer(out))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		out.Budget.Close()
		if n := out.Budget.Used(); n != 0 {
			t.Errorf("%d descriptors are still taken after Close", n)
		}
	})
	return c, nil
}

func sampleUpdate(sequence int) *channels.Update {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 5, minute, 0, 0, time.UTC) }
	timeline := []channels.TimelineEntry{
		{Sequence: 3, Status: incident.Resolved, Title: "Logins work", Message: "All is well.", UpdatedAt: at(30)},
		{Sequence: 2, Status: incident.Identified, Title: "Logins fail", Message: "A database node is out of disk space. <b>Writes</b> & logins fail.", UpdatedAt: at(12)},
		{Sequence: 1, Status: incident.Investigating, Title: "Logins fail", Message: "We are looking into failing logins.", UpdatedAt: at(1),
			Translations: map[string]incident.Translation{"de": {Title: "Anmeldung gestört", Message: "Wir prüfen das."}}},
	}[3-sequence:]
	now := timeline[0]
	u := &channels.Update{
		Page: "default", IncidentID: "INC-8892", Sequence: sequence, Status: now.Status, Impact: incident.ImpactCritical,
		Title: now.Title, Message: now.Message, Translations: now.Translations,
		AffectedComponents: []string{"auth-api", "payment-gateway"}, Components: map[string]string{"auth-api": "major_outage"},
		StartedAt: at(0), UpdatedAt: now.UpdatedAt, AcceptedAt: now.UpdatedAt.Add(time.Second),
		Links:    []incident.Link{{Rel: "self", Title: "Status page", URL: "https://status.example.com/INC-8892"}},
		Details:  []byte(`{"runbook":"db-7"}`),
		Timeline: timeline,
	}
	if now.Status.Terminal() {
		u.ResolvedAt = now.UpdatedAt
	}
	return u
}

// message is a delivery of the sample update to target 7.
func message(t testing.TB, c *Channel, sequence int, address string) *channels.Message {
	t.Helper()
	return messageOf(t, c, sampleUpdate(sequence), channels.Variant{Visibility: incident.Public}, address)
}

func messageOf(t testing.TB, c *Channel, u *channels.Update, v channels.Variant, address string) *channels.Message {
	t.Helper()
	p, err := c.Render(u.SeenBy(v.Visibility), v)
	if err != nil {
		t.Fatal(err)
	}
	return &channels.Message{ID: incident.DeliveryID(u.Page, u.IncidentID, u.Sequence, "7"), Provider: "main",
		Address: address, Target: 7, Attempt: 1, Variant: v, Update: u, Payload: p}
}

// idOf returns the left side of a message's Message-ID.
func idOf(t testing.TB, content string) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(m.Header.Get("Message-Id"), "<"), "@")
	return id
}

// certificate is a fresh one for 127.0.0.1, and the pool that trusts it.
func certificate(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}
