package peer

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func request(headers ...string) string {
	return "POST /t/7 HTTP/1.1\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

func TestReadHead(t *testing.T) {
	text := request("Host: x", "CONTENT-length: 5", "Webhook-ID:  "+testID(1, 1)+" ", "webhook-timestamp: 1800000000", "Connection: Close")
	for i := range len(text) {
		if h, err := readHead([]byte(text[:i])); err != nil || h.size != 0 {
			t.Fatalf("the first %d bytes give %+v, %v", i, h, err)
		}
	}
	h, err := readHead([]byte(text + "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if h.size != len(text) || h.target != 7 || h.length != 5 || string(h.id) != testID(1, 1) || !h.close {
		t.Fatalf("got %+v", h)
	}
	if err := h.check(time.Unix(1_800_000_100, 0)); err != nil {
		t.Error(err)
	}
	if err := h.check(time.Unix(1_800_000_301, 0)); err == nil {
		t.Error("a timestamp more than five minutes old must be refused")
	}
	h.id = h.id[:10]
	if err := h.check(time.Unix(1_800_000_000, 0)); err == nil {
		t.Error("a short webhook-id must be refused")
	}
}

func TestReadHeadRefuses(t *testing.T) {
	for _, text := range []string{
		"GET /t/1 HTTP/1.1\r\n\r\n",
		"POST /t/1 HTTP/1.0\r\n\r\n",
		"POST /t/1\r\n\r\n",
		request("Host: x"),
		request("Content-Length: 1", "Content-Length: 1"),
		request("Content-Length: -1"),
		request("Content-Length: 99999999"),
		request("Content-Length: 1", "Transfer-Encoding: chunked"),
		request("Content-Length: 1", "nonsense"),
		strings.Repeat("x", maxHead+1),
	} {
		if h, err := readHead([]byte(text)); err == nil {
			t.Errorf("%.40q gives %+v", text, h)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add([]byte(request("Content-Length: 5", "webhook-id: x")))
	f.Add([]byte("POST /t/1 HTTP/1.1\r\n:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHead(b)
		if err == nil && h.size > 0 && (h.size > len(b) || h.length < 0 || h.length > maxBody || h.target < 0) {
			t.Fatalf("%q gives %+v", b, h)
		}
	})
}

// body is a webhook body as the engine sends it.
func body(incident string, sequence int) string {
	kind := "incident.updated"
	if sequence == 1 {
		kind = "incident.created"
	}
	var updates []string
	for s := sequence; s >= 1; s-- {
		updates = append(updates, fmt.Sprintf(`{"sequence":%d}`, s))
	}
	return fmt.Sprintf(`{"type":%q,"data":{"incident_id":%q,"sequence":%d,"status":"identified","updates":[%s]}}`,
		kind, incident, sequence, strings.Join(updates, ","))
}

func TestPayloads(t *testing.T) {
	p := newPayloads()
	for range 2 { // from JSON, then from the cache
		if got := p.decode([]byte(body("INC-1", 3))); got != (payload{incident: "INC-1", sequence: 3}) {
			t.Fatalf("got %+v", got)
		}
	}
	for _, bad := range []string{
		"", "{}", "[]",
		strings.Replace(body("INC-1", 2), "updated", "created", 1),
		strings.Replace(body("INC-1", 2), `"identified"`, `"resolved"`, 1),
		strings.Replace(body("INC-1", 2), `"sequence":2,`, `"sequence":0,`, 1),
		strings.Replace(body("INC-1", 2), `[{"sequence":2}`, `[{"sequence":1}`, 1),
		strings.Replace(body("INC-1", 3), `{"sequence":2}`, `{"sequence":3}`, 1),
		body("INC\t1", 1), body("", 1),
	} {
		if got := p.decode([]byte(bad)); got.fault == nil {
			t.Errorf("%s gives %+v", bad, got)
		}
	}
	for i := range 2 * maxPayloads {
		p.decode([]byte(body(fmt.Sprint("INC-", i), 1)))
	}
	if len(p.known) > maxPayloads {
		t.Errorf("%d bodies are kept", len(p.known))
	}
}
