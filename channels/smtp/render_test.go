package smtp

import (
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

// letter is a mail as a reader sees it.
type letter struct {
	header     mail.Header
	text, html string
}

// compose renders an update, fills the slots for target 7 and reads the mail back.
func compose(t testing.TB, c *Channel, u *channels.Update, v channels.Variant) (raw string, l letter) {
	t.Helper()
	m := messageOf(t, c, u, v, address)
	content, err := new(draft).compose(c, c.first, m.Payload.(*payload), m)
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutSuffix(string(content), "\r\n.\r\n")
	if !ok || strings.Contains(raw, "\r\n.\r\n") {
		t.Fatal("the message does not end, or ends twice")
	}
	raw += "\r\n"
	return raw, read(t, raw)
}

func read(t testing.TB, raw string) letter {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatal(kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	l := letter{header: m.Header}
	for _, want := range []struct {
		kind string
		into *string
	}{{"text/plain; charset=utf-8", &l.text}, {"text/html; charset=utf-8", &l.html}} {
		part, err := parts.NextPart() // decodes quoted-printable
		if err != nil || part.Header.Get("Content-Type") != want.kind {
			t.Fatal(part, err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		*want.into = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Fatal("more than two parts", err)
	}
	return l
}

func (l letter) get(t testing.TB, name string) string {
	t.Helper()
	if n := len(l.header[name]); n > 1 {
		t.Errorf("%d headers %s", n, name)
	}
	text, err := new(mime.WordDecoder).DecodeHeader(l.header.Get(name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func noPeer(t testing.TB, change func(*Config)) *Channel {
	t.Helper()
	return newChannel(t, "smtp://127.0.0.1?tls=none", func(c *Config, _ *egress.Config) {
		c.Unsubscribe = func(target int64) string {
			return "https://status.example.com/unsubscribe/7?page=default&signature=" + strings.Repeat("Ab1_", 20)
		}
		if change != nil {
			change(c)
		}
	})
}

const sampleLink = "https://status.example.com/unsubscribe/7?page=default&signature=Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_Ab1_"

// The sample in the test data is what is sent.
func TestSampleMail(t *testing.T) {
	raw, _ := compose(t, noPeer(t, nil), sampleUpdate(2), channels.Variant{Visibility: incident.Public})
	const file = "testdata/sample.eml"
	if os.Getenv("TOCSIN_UPDATE_SAMPLES") != "" {
		if err := os.WriteFile(file, []byte(raw), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if raw != string(want) {
		t.Errorf("%s is not what is sent; look at the difference, then run with TOCSIN_UPDATE_SAMPLES=1. What is sent:\n%s", file, raw)
	}
}

func TestHeaders(t *testing.T) {
	c := noPeer(t, nil)
	raw, l := compose(t, c, sampleUpdate(2), channels.Variant{Visibility: incident.Public})
	id := "<" + incident.DeliveryID("default", "INC-8892", 2, "7") + "@example.com>"
	thread := "<" + incident.ThreadID("default", "INC-8892", "7") + "@example.com>"
	for name, want := range map[string]string{
		"From": sampleFrom, "To": address, "Subject": "Re: [default] Logins fail", "Date": "Sat, 21 Nov 2026 05:12:01 +0000",
		"Message-Id": id, "In-Reply-To": thread, "References": thread,
		"List-Unsubscribe": "<" + sampleLink + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
		"Tocsin-Page": "default", "Tocsin-Incident": "INC-8892", "Tocsin-Sequence": "2",
	} {
		if got := l.get(t, name); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
	checkLines(t, []byte(raw), 998)
	for _, body := range []string{l.text, l.html} {
		if strings.Contains(body, "unsubscribe.invalid") {
			t.Error("a slot was left open")
		}
	}
	if !strings.Contains(l.text, "\nUnsubscribe: "+sampleLink+"\n") {
		t.Errorf("no link in the text:\n%s", l.text)
	}
	if !strings.Contains(l.html, `<a href="`+strings.ReplaceAll(sampleLink, "&", "&amp;")+`">Unsubscribe</a>`) {
		t.Errorf("no link in the HTML:\n%s", l.html)
	}
}

// The thread holds when the title changes, and begins in the reader's language.
func TestSubjectsKeepTheirStem(t *testing.T) {
	c := noPeer(t, nil)
	for _, tc := range []struct {
		sequence     int
		locale, want string
	}{
		{1, "", "[default] Logins fail"}, {2, "", "Re: [default] Logins fail"}, {3, "en", "Re: [default] Logins fail"},
		{1, "de-AT", "[default] Anmeldung gestört"}, {3, "de-AT", "Re: [default] Anmeldung gestört"},
	} {
		_, l := compose(t, c, sampleUpdate(tc.sequence), channels.Variant{Locale: tc.locale})
		if got := l.get(t, "Subject"); got != tc.want {
			t.Errorf("%d %s: %q; want %q", tc.sequence, tc.locale, got, tc.want)
		}
	}
	bare := &channels.Update{Page: "default", IncidentID: "INC-1", Sequence: 1, Status: incident.Investigating, Test: true}
	if _, l := compose(t, c, bare, channels.Variant{}); l.get(t, "Subject") != "[test] [default] INC-1" || !strings.HasPrefix(l.text, "This is a test.") {
		t.Errorf("%q\n%s", l.get(t, "Subject"), l.text)
	}
}

func TestBodies(t *testing.T) {
	c := noPeer(t, nil)
	_, l := compose(t, c, sampleUpdate(3), channels.Variant{Locale: "de", Visibility: incident.Public})
	for _, want := range []string{"Logins work\n", "Status: Resolved\n", "Impact: Critical\n", "Started: 21 Nov 2026, 05:00 UTC\n", "Resolved: 21 Nov 2026, 05:30 UTC\n",
		"Affected: auth-api (Major outage)\n          payment-gateway\n", "All is well.\n", "Wir prüfen das.\n", "<b>Writes</b> & logins fail.",
		"Status page: https://status.example.com/INC-8892\n", "\n-- \nIncident INC-8892, update 3\n"} {
		if !strings.Contains(l.text, want) {
			t.Errorf("the text lacks %q:\n%s", want, l.text)
		}
	}
	for _, want := range []string{`<html lang="de">`, "All is well.", "Wir prüfen das.", "&lt;b&gt;Writes&lt;/b&gt; &amp; logins fail.",
		`<a href="https://status.example.com/INC-8892">Status page</a>`, "<li>auth-api (Major outage)</li>"} {
		if !strings.Contains(l.html, want) {
			t.Errorf("the HTML lacks %q:\n%s", want, l.html)
		}
	}
	for _, body := range []string{l.text, l.html} {
		newest, middle, oldest := strings.Index(body, "All is well."), strings.Index(body, "disk space"), strings.Index(body, "Wir prüfen")
		if newest > middle || middle > oldest {
			t.Errorf("the timeline is not newest first:\n%s", body)
		}
		if strings.Contains(body, "runbook") {
			t.Error("internal details are shown")
		}
	}
}

func TestLongTimelinesAreBounded(t *testing.T) {
	c := noPeer(t, nil)
	u := sampleUpdate(1)
	u.Timeline = nil
	for i := 400; i > 0; i-- {
		u.Timeline = append(u.Timeline, channels.TimelineEntry{Sequence: i, Status: incident.Monitoring, Message: strings.Repeat("m", 100)})
	}
	if n := len(view(u, "").Updates); n != channels.MaxRecent {
		t.Errorf("%d updates", n)
	}
	for i := range u.Timeline {
		u.Timeline[i].Message = strings.Repeat("ü", 20<<10)
	}
	raw, _ := compose(t, c, u, channels.Variant{})
	if len(raw) > 4<<20 {
		t.Errorf("%d bytes", len(raw))
	}
}

// Whatever an event says is text: in headers, in the protocol, in HTML, in templates.
func TestHostileTexts(t *testing.T) {
	c := noPeer(t, nil)
	plain, _ := compose(t, c, sampleUpdate(1), channels.Variant{})
	wantHeaders := len(read(t, plain).header)
	for _, hostile := range []string{
		"a\r\nBcc: victim@example.org", "a\nX: y", "a\rX: y", "a\x00b", "a\r\n\r\n<html>", "\r\n.\r\nMAIL FROM:<x@y.example>", "\n.\n", "\r.\r\n", "\r.\r", ".", "..", "\n\n.",
		"=?utf-8?q?=0D=0ABcc:_victim=40example.org?=", "{{.Unsubscribe}}{{define \"x\"}}", "{{template \"x\"}}", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
		"--=_tocsin", "--=_tocsin--", "\n--=_tocsin--\n", "From me", "\nFrom me", "Content-Type: text/html", strings.Repeat("x", 5000), strings.Repeat("ü", 2000),
		"\xff\xfe", "\u2028\u2029", "🙂", "]]>", "&lt;", "=3D=\r\n", "javascript:alert(1)", "https://unsubscribe.invalid/x",
	} {
		u := sampleUpdate(1)
		u.Title, u.Message = hostile, hostile
		u.Timeline[0].Title, u.Timeline[0].Message = hostile, hostile
		u.IncidentID, u.Page = "INC"+hostile, "page"+hostile
		u.AffectedComponents = []string{hostile}
		u.Components = map[string]string{hostile: hostile}
		u.Links = []incident.Link{{Title: hostile, URL: hostile}, {Title: hostile, URL: "https://x.example/" + hostile}, {Title: "js", URL: "javascript:alert(1)"}, {Title: "data", URL: "data:text/html,x"}}
		raw, l := compose(t, c, u, channels.Variant{Locale: `de" onload="x`})
		checkLines(t, []byte(raw), 998)
		if len(l.header) != wantHeaders {
			t.Errorf("%q: %d headers; want %d:\n%s", hostile, len(l.header), wantHeaders, raw)
		}
		for _, bad := range []string{"<script", "<img", "javascript:alert(1)\"", "data:text", `onload="x`, "ZgotmplZ"} {
			if strings.Contains(l.html, bad) {
				t.Errorf("%q: the HTML has %q:\n%s", hostile, bad, l.html)
			}
		}
		if strings.ContainsAny(l.get(t, "Subject")+l.get(t, "Tocsin-Incident")+l.get(t, "Tocsin-Page"), "\r\n\x00") {
			t.Errorf("%q: a header has control characters", hostile)
		}
	}
}

// What should never be in the store does no harm there.
func TestHostileDeliveriesAreNotSent(t *testing.T) {
	p := &peer{}
	link := "https://status.example.com/u"
	c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) { c.Unsubscribe = func(int64) string { return link } })
	for name, spoil := range map[string]func(m *channels.Message){
		"address": func(m *channels.Message) { m.Address = "a@b.example>\r\nRCPT TO:<victim@example.org" },
		"id":      func(m *channels.Message) { m.ID = "msg_1>\r\nBcc: x" },
		"no id":   func(m *channels.Message) { m.ID = "" },
		"link":    func(*channels.Message) { link = "https://x/>\r\nBcc: y" },
		"payload": func(m *channels.Message) { m.Payload = "text" },
	} {
		link = "https://status.example.com/u"
		m := message(t, c, 1, address)
		spoil(m)
		if r := c.Send(t.Context(), m); r.Class != channels.Permanent || strings.ContainsAny(r.Detail, "\r\n@") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if p.connections() != 0 {
		t.Error("it connected")
	}
}

func TestWithoutUnsubscribe(t *testing.T) {
	c := noPeer(t, func(c *Config) { c.Unsubscribe = nil })
	raw, l := compose(t, c, sampleUpdate(1), channels.Variant{})
	if strings.Contains(strings.ToLower(raw), "unsubscribe") || l.header.Get("List-Unsubscribe-Post") != "" {
		t.Error(raw)
	}
	c = noPeer(t, func(c *Config) { c.Unsubscribe = func(int64) string { return "http://127.0.0.1:9/u" } })
	if _, l = compose(t, c, sampleUpdate(1), channels.Variant{}); l.header.Get("List-Unsubscribe") == "" || l.header.Get("List-Unsubscribe-Post") != "" {
		t.Error("one click needs https (RFC 8058)")
	}
}

func TestOwnTemplates(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tocsin.txt.tmpl", "Own: {{.Title}} {{with .Details}}({{.}}){{end}}")
	write("short.subject.tmpl", "{{.Stem}}!")
	write("short.html.tmpl", `<p>{{.Message}}</p><a href={{.Unsubscribe}}>bye</a>`)
	write("README", "not a template")
	c := noPeer(t, func(c *Config) { c.Templates = dir })
	_, l := compose(t, c, sampleUpdate(2), channels.Variant{Visibility: incident.Private})
	if l.text != `Own: Logins fail ({"runbook":"db-7"})` || !strings.Contains(l.html, "<h1") {
		t.Errorf("%q\n%s", l.text, l.html)
	}
	_, l = compose(t, c, sampleUpdate(2), channels.Variant{Format: "short"})
	if l.get(t, "Subject") != "[default] Logins fail!" || l.text != "Own: Logins fail " || !strings.HasPrefix(l.html, "<p>A database") || !strings.Contains(l.html, "href="+strings.ReplaceAll(sampleLink, "&", "&amp;")) {
		t.Errorf("%+v", l)
	}
}

func TestDateIsThatOfTheAcceptance(t *testing.T) {
	u := sampleUpdate(1)
	if got := date(u); !got.Equal(u.AcceptedAt) {
		t.Error(got)
	}
	u.AcceptedAt = time.Time{}
	if got := date(u); !got.Equal(u.UpdatedAt) {
		t.Error(got)
	}
}
