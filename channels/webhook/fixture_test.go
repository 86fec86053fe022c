package webhook

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// serve accepts on every loopback address until the test ends and returns the base
// URL.
func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(channeltest.ServeOn(t, channeltest.Listen(t, "0.0.0.0"), handle))
	return "http://127.0.0.1:" + port
}

// newChannel returns a channel that may reach loopback only, with timeouts that no
// peer that answers meets.
func newChannel(t testing.TB, change func(*Config, *egress.Config)) *Channel {
	t.Helper()
	policy, err := egress.NewPolicy(egress.Rules{Allow: []string{"127.0.0.0/8", "::1"}, HTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	out := egress.Config{Policy: policy, Gate: egress.NewGate(64, 16), Budget: egress.NewBudget(2000, time.Minute),
		Lookup: channeltest.NoNames}
	config := Defaults("test")
	config.ConnectTimeout, config.Timeout = channeltest.Accept.Patience(), channeltest.Accept.Patience()
	if change != nil {
		change(&config, &out)
	}
	c := New(config, egress.NewDialer(out))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		out.Budget.Close()
		if n := out.Budget.Used(); n != 0 {
			t.Errorf("%d descriptors are still taken after Close", n)
		}
		if n := len(c.idle.hosts); n != 0 {
			t.Errorf("%d hosts are still kept after Close", n)
		}
	})
	return c
}

func sampleUpdate() *channels.Update {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 5, minute, 0, 0, time.UTC) }
	return &channels.Update{
		Page: "default", IncidentID: "INC-8892", Sequence: 2,
		Status: incident.Identified, Impact: incident.ImpactCritical,
		Title:              "Logins fail",
		Message:            "A database node is out of disk space. <b>Writes</b> & logins fail.",
		AffectedComponents: []string{"auth-api"},
		StartedAt:          at(0), UpdatedAt: at(12), AcceptedAt: at(13),
		Links: []incident.Link{{Rel: "self", Title: "Status page", URL: "https://status.example.com/INC-8892"}},
		Translations: map[string]incident.Translation{
			"de":    {Title: "Anmeldung gestört", Message: "Ein Datenbankknoten ist voll."},
			"pt-BR": {Title: "Falha no login"},
			"pt":    {Title: "Falha de autenticação", Message: "Um nó está sem espaço."},
		},
		Details: []byte(`{"runbook":"db-7"}`),
		Timeline: []channels.TimelineEntry{
			{Sequence: 2, Status: incident.Identified, Message: "A database node is out of disk space. <b>Writes</b> & logins fail.", UpdatedAt: at(12)},
			{Sequence: 1, Status: incident.Investigating, Message: "We are looking into failing logins.", UpdatedAt: at(1)},
		},
	}
}

// message is a delivery of the sample update.
func message(t testing.TB, c *Channel, address string) *channels.Message {
	t.Helper()
	v := channels.Variant{Visibility: incident.Public}
	p, err := c.Render(sampleUpdate().SeenBy(v.Visibility), v)
	if err != nil {
		t.Fatal(err)
	}
	return &channels.Message{ID: "msg_01234567890123456789012345", Provider: egress.ProviderKey(address),
		Address: address, Target: 7, Attempt: 1, Variant: v, Update: sampleUpdate(), Payload: p}
}

// named lets URLs with a host name use a port of this machine.
func named(t testing.TB, e *egress.Config, port string) {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	e.Policy, err = egress.NewPolicy(egress.Rules{Allow: []string{"127.0.0.0/8"}, HTTP: true, Ports: []int{n}})
	if err != nil {
		t.Fatal(err)
	}
	e.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
}

// request reads one request and reports whether there was one.
func request(r *bufio.Reader) bool {
	var req fasthttp.Request
	return req.Read(r) == nil
}

// says answers the first request with text, then waits for the end of the
// connection.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if request(r) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, r)
		}
	}
}

// saysAndCloses answers the first request with text and closes.
func saysAndCloses(text string) func(net.Conn) {
	return func(c net.Conn) {
		if request(bufio.NewReader(c)) {
			_, _ = io.WriteString(c, text)
		}
	}
}

// repeats answers the first request with head and then part for ever.
func repeats(head, part string) func(net.Conn) {
	return func(c net.Conn) {
		if !request(bufio.NewReader(c)) {
			return
		}
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, part)
		}
	}
}

// drips answers the first request with head at once and then text, a byte each 100 ms,
// for ever.
func drips(head, text string) func(net.Conn) {
	return func(c net.Conn) {
		if !request(bufio.NewReader(c)) {
			return
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		_, err := io.WriteString(c, head)
		for i := 0; err == nil; i++ {
			<-tick.C
			_, err = io.WriteString(c, text[i%len(text):i%len(text)+1])
		}
	}
}
