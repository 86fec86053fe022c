package webhook

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// receipt is one request as a peer saw it.
type receipt struct {
	*http.Request
	body []byte
}

// inbox answers every request with 200 and returns what came.
func inbox(t *testing.T) (string, <-chan receipt) {
	t.Helper()
	received := make(chan receipt, 16)
	return serve(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			received <- receipt{req, body}
			if _, err := io.WriteString(c, answerOK); err != nil {
				return
			}
		}
	}), received
}

func TestRequestIsSignedAndAsItWasGiven(t *testing.T) {
	address, received := inbox(t)
	now := time.Now()
	c := newChannel(t, func(c *Config, _ *egress.Config) { c.Clock = func() time.Time { return now } })
	m := message(t, c, address+"/a//b/../c%2Fd?k=v&k=%20w")
	m.Secrets = []string{secretA, secretB}
	for attempt := range 2 {
		if r := c.Send(t.Context(), m); r != (channels.Result{Class: channels.Delivered}) {
			t.Fatalf("%+v", r)
		}
		got := <-received
		if got.Method != "POST" || got.RequestURI != "/a//b/../c%2Fd?k=v&k=%20w" {
			t.Errorf("%s %s", got.Method, got.RequestURI)
		}
		if "http://"+got.Host != address {
			t.Errorf("host %q", got.Host)
		}
		if want := m.Payload.(*payload).json; !bytes.Equal(got.body, want) || got.ContentLength != int64(len(want)) {
			t.Errorf("body %s", got.body)
		}
		h := got.Header
		if h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "Tocsin/test (+https://www.standardwebhooks.com)" {
			t.Errorf("headers %v", h)
		}
		if h.Get("webhook-id") != m.ID || h.Get("webhook-timestamp") != strconv.FormatInt(now.Unix(), 10) {
			t.Errorf("attempt %d: id %q, timestamp %q", attempt, h.Get("webhook-id"), h.Get("webhook-timestamp"))
		}
		for _, secret := range m.Secrets {
			wh, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify(got.body, h); err != nil {
				t.Errorf("attempt %d: %v", attempt, err)
			}
		}
		if n := len(strings.Fields(h.Get("webhook-signature"))); n != 2 {
			t.Errorf("%d signatures", n)
		}
		now = now.Add(time.Minute)
	}
	m.Secrets = nil
	c.Send(t.Context(), m)
	if _, has := (<-received).Header["Webhook-Signature"]; has {
		t.Error("a signature without a secret")
	}
}

func TestHostHeaderOfANamedHost(t *testing.T) {
	address, received := inbox(t)
	port := address[strings.LastIndex(address, ":")+1:]
	c := newChannel(t, func(_ *Config, e *egress.Config) { named(t, e, port) })
	if r := c.Send(t.Context(), message(t, c, "http://Hooks.example.com:"+port+"?x=1")); r.Class != channels.Delivered {
		t.Fatal(r)
	}
	if got := <-received; got.RequestURI != "/?x=1" || got.Host != "Hooks.example.com:"+port {
		t.Errorf("target %q, host %q", got.RequestURI, got.Host)
	}
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	address, received := inbox(t)
	c := newChannel(t, nil)
	for name, change := range map[string]func(*channels.Message){
		"dot in the id":         func(m *channels.Message) { m.ID = "msg_1.2" },
		"line break in the id":  func(m *channels.Message) { m.ID = "msg_1\r\nX: y" },
		"no id":                 func(m *channels.Message) { m.ID = "" },
		"secret is not base64":  func(m *channels.Message) { m.Secrets = []string{secretA, "whsec_?"} },
		"empty secret":          func(m *channels.Message) { m.Secrets = []string{"whsec_"} },
		"somebody's payload":    func(m *channels.Message) { m.Payload = "text" },
		"file":                  func(m *channels.Message) { m.Address = "file:///etc/passwd" },
		"line break in address": func(m *channels.Message) { m.Address += "/\r\nHost: x" },
		"private address":       func(m *channels.Message) { m.Address = "http://10.0.0.1/" },
	} {
		m := message(t, c, address)
		change(m)
		r := c.Send(t.Context(), m)
		if r.Class != channels.Permanent || r.Detail == "" || r.NoConnection {
			t.Errorf("%s: %+v; want permanent with a cause", name, r)
		}
		if name == "private address" && r.Detail != "ssrf_blocked" {
			t.Errorf("%s: %q", name, r.Detail)
		}
	}
	if len(received) != 0 {
		t.Errorf("%d requests were sent", len(received))
	}
}

// TestHeadsAreFasthttps has fasthttp write single heads, and compares.
func TestHeadsAreFasthttps(t *testing.T) {
	const agent = "Tocsin/1 (+https://example.com)"
	d, now, secrets := newDrafts(agent), time.Now(), []string{secretA, secretB}
	url := &egress.URL{Authority: "Hooks.example.com:8443", Path: "/a//b/../c%2Fd?k=v&k=%20w"}
	for _, body := range []string{"", "{}", strings.Repeat("x", 100_000), "{}"} {
		for n := range len(secrets) + 1 {
			m := &channels.Message{ID: "msg_1", Secrets: secrets[:n]}
			draft := d.get()
			if err := draft.write(m, url, []byte(body), now); err != nil {
				t.Fatal(err)
			}
			got := draft.wire
			stamp := strconv.FormatInt(now.Unix(), 10)
			var h fasthttp.RequestHeader
			h.SetMethod("POST")
			h.SetRequestURI(url.Path)
			h.SetHost(url.Authority)
			h.SetUserAgent(agent)
			h.SetContentType("application/json")
			h.SetContentLength(len(body))
			h.Set("Webhook-Id", m.ID)
			h.Set("Webhook-Timestamp", stamp)
			if n > 0 {
				s := &signer{sha: sha256.New()}
				signed, err := s.sign(nil, m.Secrets, m.ID, []byte(stamp), []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				h.SetBytesV("Webhook-Signature", signed)
			}
			if want := h.String() + body; string(got) != want {
				t.Errorf("%d secrets, %d bytes: %.400q; want %.400q", n, len(body), got, want)
			}
			d.put(draft)
		}
	}
}

func FuzzSignature(f *testing.F) {
	f.Add([]byte("a secret of any length"), "msg_1", []byte(`{"a":1}`))
	f.Add(bytes.Repeat([]byte{7}, 64), "m", []byte{})
	s := &signer{sha: sha256.New()}
	f.Fuzz(func(t *testing.T, key []byte, id string, body []byte) {
		got, err := s.sign(nil, []string{"whsec_" + base64.StdEncoding.EncodeToString(key)}, id, []byte("17"), body)
		if len(key) == 0 || len(key) > 126 {
			if err == nil {
				t.Error("a secret of a strange length is taken")
			}
			return
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + ".17." + string(body)))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	})
}

// TestWrittenIsToldBeforeTheAnswer has a peer that answers only once it was told.
func TestWrittenIsToldBeforeTheAnswer(t *testing.T) {
	told := make(chan struct{})
	url := serve(t, func(c net.Conn) {
		if request(bufio.NewReader(c)) {
			select {
			case <-told:
			case <-t.Context().Done():
			}
			_, _ = io.WriteString(c, answerOK)
		}
	})
	c := newChannel(t, nil)
	m := message(t, c, url)
	m.Written = func() { close(told) }
	if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
		t.Errorf("%+v", r)
	}
}
