package floor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/webhook"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/peer"
)

// The kinds that send webhooks in the clear.
var plainKinds = []string{"http", "fasthttp"}

func TestEveryTargetIsToldOnce(t *testing.T) {
	for _, kind := range plainKinds {
		port, report := webhooks(t, peer.Mix{})
		r, err := runFloor(t, kind, "--port", strconv.Itoa(port), "--targets", "50")
		if err != nil || r.Deliveries != 50 || r.Errors != 0 || r.PerS <= 0 || r.WallS <= 0 || r.P50MS <= 0 || r.P99MS < r.P50MS {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
		got := report()
		sound(t, got, 50)
		if got.BySequence[1] != 50 {
			t.Errorf("%s: %v", kind, got.BySequence)
		}
	}
}

// Each update begins once the one before is answered everywhere, over the same
// connections.
func TestUpdatesComeInOrderOverKeptConnections(t *testing.T) {
	for _, kind := range plainKinds {
		w, err := peer.StartWebhook(peer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := runFloor(t, kind, "--port", strconv.Itoa(w.Port()), "--targets", "20", "--warm", "--updates", "3", "--window", "4")
		if err != nil || r.Deliveries != 60 {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		sound(t, w.Report(), 80)
		answered := make(map[int]time.Time)
		for _, receipt := range w.Receipts() {
			if receipt.AnsweredAt.After(answered[receipt.Sequence]) {
				answered[receipt.Sequence] = receipt.AnsweredAt
			}
		}
		for _, receipt := range w.Receipts() {
			if receipt.ReceivedAt.Before(answered[receipt.Sequence-1]) {
				t.Fatalf("%s: update %d came to target %d before the one before was answered everywhere", kind, receipt.Sequence, receipt.Target)
			}
		}
	}
}

// The clock starts when the update that connects has been answered by the last.
func TestTheWarmUpIsNotMeasured(t *testing.T) {
	for _, kind := range plainKinds {
		w, err := peer.StartWebhook(peer.Options{Script: peer.Mix{Hold: 50 * time.Millisecond}.Behaviour})
		if err != nil {
			t.Fatal(err)
		}
		r, err := runFloor(t, kind, "--port", strconv.Itoa(w.Port()), "--targets", "10", "--warm")
		ended := time.Now()
		if err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		var warm time.Time
		for _, receipt := range w.Receipts() {
			if receipt.Sequence == 1 && receipt.AnsweredAt.After(warm) {
				warm = receipt.AnsweredAt
			}
		}
		if most := ended.Sub(warm).Seconds(); r.Deliveries != 10 || r.WallS > most {
			t.Errorf("%s: %+v; %v s after the warm-up it was over", kind, r, most)
		}
	}
}

// serveTarget is target 1, at its own address, and answers 200.
func serveTarget(t *testing.T, handle func(net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp4", netip.AddrPortFrom(peer.Host(1), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, handle)
	return l.Addr().(*net.TCPAddr).Port
}

// The floor has the same work as the engine: the same bytes, but for who signs what.
func TestRequestsAreTheEngines(t *testing.T) {
	type arrived struct {
		head http.Header
		line string
		size int
		body []byte
	}
	came := make(chan arrived, 1)
	port := serveTarget(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			q, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return
			}
			size := len(body)
			for name, values := range q.Header {
				size += len(name) + len(values[0])
			}
			came <- arrived{q.Header, q.Method + " " + q.Host + q.RequestURI, size, body}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	const body, sequences = 1024, 3
	story, err := NewStory("FLOOR-1", body)
	if err != nil {
		t.Fatal(err)
	}
	var engine []arrived
	for sequence := 1; sequence <= sequences; sequence++ {
		sendAsEngine(t, &story, sequence, peer.TargetURL(1, port))
		engine = append(engine, <-came)
	}
	if len(engine[0].body) != body {
		t.Errorf("the engine's first body has %d bytes", len(engine[0].body))
	}
	for _, kind := range plainKinds {
		done := make(chan error, 1)
		go func() {
			_, err := runFloor(t, kind, "--port", strconv.Itoa(port), "--targets", "1", "--updates", strconv.Itoa(sequences), "--body", strconv.Itoa(body))
			done <- err
		}()
		for _, want := range engine {
			got := <-came
			if got.line != want.line || !bytes.Equal(got.body, want.body) {
				t.Errorf("%s sent %s\n%s\nthe engine sends %s\n%s", kind, got.line, got.body, want.line, want.body)
			}
			names, wanted := slices.Sorted(maps.Keys(got.head)), slices.Sorted(maps.Keys(want.head))
			if !slices.Equal(names, wanted) || max(got.size-want.size, want.size-got.size) > 16 {
				t.Errorf("%s sent %v, %d bytes; the engine sends %v, %d bytes", kind, names, got.size, wanted, want.size)
			}
			if key := got.head.Get("Webhook-Id"); len(key) != len(want.head.Get("Webhook-Id")) {
				t.Errorf("%s: %s", kind, key)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// sendAsEngine sends an update of the story through the engine's channel.
func sendAsEngine(t *testing.T, s *Story, sequence int, url string) {
	t.Helper()
	policy, err := egress.NewPolicy(egress.Rules{Allow: []string{"127.0.0.0/8"}, HTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	budget := egress.NewBudget(10, time.Minute)
	defer budget.Close()
	c := webhook.New(webhook.Defaults("test"), egress.NewDialer(egress.Config{Policy: policy, Gate: egress.NewGate(4, 4), Budget: budget}))
	defer c.Close()
	u := &channels.Update{Page: Page, IncidentID: s.Incident, Sequence: sequence, Status: Status, Impact: Impact, Title: s.Title,
		Message: s.Message(sequence), AffectedComponents: []string{Component}, StartedAt: s.StartedAt, UpdatedAt: s.UpdatedAt(sequence)}
	for n := sequence; n > 0; n-- {
		u.Timeline = append(u.Timeline, channels.TimelineEntry{Sequence: n, Status: Status, Message: s.Message(n), UpdatedAt: s.UpdatedAt(n)})
	}
	p, err := c.Render(u, channels.Variant{Visibility: incident.Public})
	if err != nil {
		t.Fatal(err)
	}
	m := &channels.Message{ID: incident.DeliveryID(Page, s.Incident, sequence, "1"), Address: url, Attempt: 1, Payload: p,
		Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
		t.Fatal(r)
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	for _, kind := range plainKinds {
		for behaviour, want := range map[string]string{"dead=100": "500", "gone=100": "410", "429=100": "429", "reset=100": ""} {
			mix, err := peer.ParseMix(behaviour)
			if err != nil {
				t.Fatal(err)
			}
			port, _ := webhooks(t, mix)
			r, err := runFloor(t, kind, "--port", strconv.Itoa(port), "--targets", "10")
			if err == nil || !strings.Contains(err.Error(), want) || r == nil || r.Errors != 10 || r.Deliveries != 0 {
				t.Errorf("%s, %s: %+v, %v", kind, behaviour, r, err)
			}
		}
	}
}

// One that fails takes nothing from the others.
func TestSomeFail(t *testing.T) {
	mix, err := peer.ParseMix("dead=30")
	if err != nil {
		t.Fatal(err)
	}
	dead := 0
	for n := 1; n <= 40; n++ {
		if mix.Behaviour(n).Kind == peer.Dead {
			dead++
		}
	}
	for _, kind := range plainKinds {
		port, report := webhooks(t, mix)
		r, err := runFloor(t, kind, "--port", strconv.Itoa(port), "--targets", "40", "--warm", "--updates", "2")
		if err == nil || r.Errors != 2*dead || r.Deliveries != 2*(40-dead) {
			t.Errorf("%s: %+v, %v; %d are dead", kind, r, err, dead)
		}
		if got := report(); got.Delivered != 3*(40-dead) {
			t.Errorf("%s: %+v", kind, got.Verdict)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	_, port, err := net.SplitHostPort(refused(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range plainKinds {
		if r, err := runFloor(t, kind, "--port", port, "--targets", "5", "--updates", "2"); err == nil || r.Errors != 10 {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
	}
}

func TestHoldsAreChecked(t *testing.T) {
	port, report := webhooks(t, peer.Mix{Hold: 20 * time.Millisecond})
	if r, err := runFloor(t, "http", "--port", strconv.Itoa(port), "--targets", "30", "--hold", "20ms"); err != nil || r.P50MS < 20 {
		t.Errorf("%+v, %v", r, err)
	}
	sound(t, report(), 30)
	port, _ = webhooks(t, peer.Mix{})
	if r, err := runFloor(t, "http", "--port", strconv.Itoa(port), "--targets", "30", "--hold", "1h"); err == nil || r.Errors != 30 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Targets are dealt out to hosts in turn, and to the connections of each.
func TestTargetsShareHosts(t *testing.T) {
	port, report := webhooks(t, peer.Mix{})
	r, err := runFloor(t, "http", "--port", strconv.Itoa(port), "--hosts", "4", "--per-host", "3", "--deliveries", "101")
	if err != nil || r.Deliveries != 101 {
		t.Errorf("%+v, %v", r, err)
	}
	sound(t, report(), 101)
	lanes, err := (&HTTPCommand{Hosts: 4, PerHost: 3, Deliveries: 101}).sharedLanes()
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[int]bool)
	for _, l := range lanes {
		for n := range l.count {
			target := l.first + n*l.step
			if host := peer.SharedHost((target-1)%4 + 1); l.to.Addr() != host || taken[target] || taken[-1-l.slot-n] {
				t.Errorf("target %d is at %v in slot %d; want %v, and no other there", target, l.to, l.slot+n, host)
			}
			taken[target], taken[-1-l.slot-n] = true, true
		}
	}
	if len(lanes) != 12 || len(taken) != 202 {
		t.Errorf("%d lanes, %d targets and slots", len(lanes), len(taken))
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, args := range []string{
		"http --port 0", "http --port 1 --targets 0", "http --port 1 --body 10", "http --port 1 --updates 0", "http --port 1 --gate 0",
		"http --port 1 --window 0", "http --port 1 --incident a_b", "http --port 1 --hosts=-1", "http --port 1 --hosts 10 --deliveries 9",
		"fasthttp --port 1 --window 0", "fasthttp --port 70000", "https --port 1 --ca /nowhere", "https --port 1 --ca run.go",
		"https --port 1 --ca run.go --resume --warm", "smtp --address 192.0.2.1:25", "smtp --address 127.0.0.1:0", "smtp --address 127.0.0.1:1 --size 10",
		"smtp --address 127.0.0.1:1 --count 3 --connections 4", "smtp --address 127.0.0.1:1 --incident [", "smtp-source --address example.com:25",
		"smpp --port 0", "smpp --port 1 --window 0", "smpp --port 1 --text 161", "smpp --port 1 --text 5", "smpp --port 1 --incident [",
		"feeds --url http://192.0.2.1:80/", "feeds --url https://127.0.0.1:80/", "feeds --url http://127.0.0.1:80/ --duration 1500ms",
		"feeds --url http://127.0.0.1:80/ --connections 0",
	} {
		if r, err := runFloor(t, strings.Fields(args)...); err == nil || r != nil || strings.Contains(err.Error(), "start") {
			t.Errorf("%s: %v, %v", args, r, err)
		}
	}
}
