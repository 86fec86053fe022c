package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/tocsin/tocsin/channels/smtp"
)

// foreignRelay is a relay on emersion/go-smtp that keeps what it takes.
type foreignRelay struct {
	mu    sync.Mutex
	mails []string
}

func (r *foreignRelay) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &foreignSession{r}, nil
}

func (r *foreignRelay) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.mails...)
}

type foreignSession struct{ relay *foreignRelay }

func (*foreignSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (*foreignSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (*foreignSession) Reset()                                 {}
func (*foreignSession) Logout() error                          { return nil }

func (s *foreignSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails = append(s.relay.mails, string(content))
	return nil
}

func startForeignRelay(t *testing.T) (relay *foreignRelay, url string) {
	t.Helper()
	relay = &foreignRelay{}
	server := gosmtp.NewServer(relay)
	server.Domain = "relay.example.com"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return relay, "smtp://" + listener.Addr().String() + "?tls=none"
}

// dkimKey writes a private key and returns the DNS record of its public half.
func dkimKey(t *testing.T, file string) (record string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
}

// parts reads the alternatives of a mail, by content type.
func parts(t *testing.T, m *mail.Message) map[string]string {
	t.Helper()
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		found[kind] = string(text)
	}
}

// TestServeMailsAsConfigured runs the engine with the sample templates, a key and a
// domain of its own, and looks at what a relay that is not ours took.
func TestServeMailsAsConfigured(t *testing.T) {
	relay, url := startForeignRelay(t)
	dir, listen := t.TempDir(), freeAddr(t)
	key := filepath.Join(dir, "dkim.pem")
	record := dkimKey(t, key)
	templates, err := filepath.Abs("../../docs/samples/mail")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tocsin.yaml")
	yaml := fmt.Sprintf(`
listen: %s
public_listen: 127.0.0.1:0
public_url: https://status.example.com
egress: {allow: ["127.0.0.0/8"]}
mail: {domain: threads.example.net, hello: engine.example.net}
smtp:
  - name: relay
    url: %s
    from: "Status <status@example.com>"
    dkim: {selector: status, key_file: "${DKIM_KEY}"}
`, listen, url)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"TOCSIN_MAIL_TEMPLATES=" + templates, "TOCSIN_DATA=" + filepath.Join(dir, "data"), "DKIM_KEY=" + key}
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, []string{"serve", "--config", file}, strings.NewReader(""), io.Discard, t.Output(), environ)
	}()
	defer func() { stop(context.Canceled); <-ended }()

	base := "http://" + listen
	eventually(t, func() bool { code, _ := get(base + "/readyz"); return code == 200 })
	post(t, base+"/v1/targets", "application/json", `{"channel":"smtp","address":"jane@example.org"}`, 201)
	post(t, base+"/v1/incidents", "application/json", `{"incident_id":"INC-1","status":"investigating","affected_components":["auth-api"],
		"impact":"major","started_at":"2026-11-21T05:00:00Z","title":"Logins <fail>","message":"We look into it."}`, 202)
	eventually(t, func() bool { return len(relay.received()) == 1 })

	content := relay.received()[0]
	m, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if subject := m.Header.Get("Subject"); !strings.HasPrefix(subject, "[Example Inc.] ") {
		t.Errorf("the subject is %q", subject)
	}
	if id := m.Header.Get("Message-ID"); !strings.HasSuffix(id, "@threads.example.net>") {
		t.Errorf("the Message-ID is %s", id)
	}
	texts := parts(t, m)
	for kind, want := range map[string]string{
		"text/plain": "Investigating: Logins <fail>\nImpact: Major\n- auth-api\n\n",
		"text/html":  "<p style=\"color: #555\">Example Inc.</p>\n<h1 style=\"font-size: 1.4em\">Logins &lt;fail&gt;</h1>",
	} {
		text := strings.ReplaceAll(texts[kind], "\r\n", "\n")
		if !strings.Contains(text, want) || !strings.Contains(text, "https://status.example.com/") {
			t.Errorf("%s is\n%s\nwant\n%s", kind, text, want)
		}
	}
	signatures, err := dkim.VerifyWithOptions(strings.NewReader(content), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if name != "status._domainkey.example.com" {
			t.Errorf("the key is looked for at %s", name)
		}
		return []string{record}, nil
	}})
	if err != nil || len(signatures) != 1 || signatures[0].Err != nil || signatures[0].Domain != "example.com" {
		t.Errorf("the signature: %+v, %v", signatures, err)
	}
}

// TestServeRefusesWhatItCannotMailWith is what is wrong outside of the file.
func TestServeRefusesWhatItCannotMailWith(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	broken := filepath.Dir(write("broken/tocsin.txt.tmpl", "{{.Title}}\n\n{{end}}\n", 0o600))
	open := write("open.pem", "-----BEGIN PRIVATE KEY-----\nHUSH\n-----END PRIVATE KEY-----\n", 0o644)
	file := write("tocsin.yaml", `
smtp:
  - {name: relay, url: "smtp://relay.invalid", from: status@example.com, dkim: {selector: s, key_file: "${KEY}"}}
`, 0o600)
	good := filepath.Join(dir, "good.pem")
	dkimKey(t, good)
	for name, test := range map[string]struct{ templates, key, want string }{
		"template":     {broken, good, "templates in " + broken + ": template: tocsin.txt.tmpl:3: "},
		"no templates": {filepath.Join(dir, "none"), good, "no such file or directory"},
		"open key":     {"", open, "others may read or change the private key in " + open},
		"no key":       {"", filepath.Join(dir, "none.pem"), "none.pem: no such file or directory"},
		"not a key":    {"", write("bad.pem", "HUSH", 0o600), "must have an RSA or Ed25519 private key"},
	} {
		environ := []string{"TOCSIN_MAIL_TEMPLATES=" + test.templates, "KEY=" + test.key, "TOCSIN_DATA=" + filepath.Join(dir, "data")}
		for _, command := range [][]string{{"serve", "--config", file}, {"config", "check", file}} {
			code, stdout, stderr := tocsin(t, t.Context(), "", environ, command...)
			if code != exitUsage || !strings.Contains(stderr, test.want) || strings.Contains(stdout+stderr, "HUSH") {
				t.Errorf("%s: %v: exit code %d, %s; want %q", name, command, code, stderr, test.want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("an engine that can't run has made its folder")
	}
}

// TestDocumentedTemplateFields holds the table of docs/configuration.md against
// what templates get, in both directions.
func TestDocumentedTemplateFields(t *testing.T) {
	documented := make(map[string]bool)
	for line := range strings.Lines(section(t, readDoc(t, "docs/configuration.md"), "## Mail templates")) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok {
			for _, match := range regexp.MustCompile("`\\.(\\w+)`").FindAllStringSubmatch(cell, -1) {
				documented[match[1]] = true
			}
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[smtp.Mail]()) {
		if !documented[field.Name] {
			t.Errorf("docs/configuration.md does not have .%s", field.Name)
		}
		delete(documented, field.Name)
	}
	for name := range documented {
		t.Errorf("docs/configuration.md has .%s, which templates don't get", name)
	}
}
