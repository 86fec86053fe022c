package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
	peers "github.com/tocsin/tocsin/internal/peer"
)

// goRelay is a relay on emersion/go-smtp, which is not ours.
type goRelay struct {
	mu     sync.Mutex
	logins int
	mails  []envelopeAndMail
}

func (g *goRelay) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &goSession{relay: g, conn: c}, nil
}

type goSession struct {
	relay   *goRelay
	conn    *gosmtp.Conn
	user    string
	current envelopeAndMail
}

func (s *goSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *goSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != kitUser || password != kitPassword {
			return gosmtp.ErrAuthFailed
		}
		s.user = user
		s.relay.mu.Lock()
		defer s.relay.mu.Unlock()
		s.relay.logins++
		return nil
	}), nil
}

func (s *goSession) Mail(from string, _ *gosmtp.MailOptions) error {
	if s.user == "" {
		return gosmtp.ErrAuthRequired
	}
	if _, secure := s.conn.TLSConnectionState(); !secure {
		return errors.New("no TLS")
	}
	s.current = envelopeAndMail{from: from}
	return nil
}

func (s *goSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "gone@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no mailbox " + to}
	}
	s.current.to = to
	return nil
}

func (s *goSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	s.current.content = string(content)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails = append(s.relay.mails, s.current)
	return err
}

func (s *goSession) Reset()        {}
func (s *goSession) Logout() error { return nil }

func TestGoSMTP(t *testing.T) {
	config, pool := certificate(t)
	g := &goRelay{}
	server := gosmtp.NewServer(g)
	server.TLSConfig, server.Domain = config, "relay.example.com"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	trust := func(c *Config, e *egress.Config) {
		e.Roots = pool
		c.Relays[0].Connections = 3
	}
	c := newChannel(t, "smtp://"+kitUser+":"+kitPassword+"@"+l.Addr().String(), trust)
	if !strings.Contains(fmt.Sprint(capabilities(t, l.Addr().String())), "PIPELINING") {
		t.Fatal("the relay offers no PIPELINING; this test is about it")
	}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			to, want := fmt.Sprintf("t%d@customer.example", i), channels.Delivered
			if i%5 == 0 {
				to, want = "gone@customer.example", channels.Gone
			}
			r := c.Send(t.Context(), message(t, c, 1, to))
			if r.Class != want || strings.Contains(r.Detail, "customer") {
				t.Errorf("%s: %+v", to, r)
			}
		})
	}
	all.Wait()
	wrong := newChannel(t, "smtp://"+kitUser+":hunter2-hunter2@"+l.Addr().String(), trust)
	if r := wrong.Send(t.Context(), message(t, wrong, 1, address)); r.Class != channels.Temporary || !r.NoConnection || r.Detail != "smtp 535 to AUTH" {
		t.Errorf("%+v", r)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	to := map[string]bool{}
	for _, m := range g.mails {
		to[m.to] = true
		if l := read(t, m.content); l.header.Get("To") != m.to || !strings.Contains(l.text, "We are looking into failing logins.") {
			t.Errorf("%s: %+v", m.to, l)
		}
	}
	if len(g.mails) != 24 || len(to) != 24 || g.logins > 3 {
		t.Errorf("%d mails to %d mailboxes after %d logins", len(g.mails), len(to), g.logins)
	}
}

// capabilities is what a relay says to EHLO.
func capabilities(t *testing.T, at string) []string {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "EHLO x.example\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(said))
}

// tool returns the path of a program that tests need. Without it they are skipped.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path = "/usr/sbin/" + name; !exists(path) {
			t.Skipf("%s is not installed: make deps", name)
		}
	}
	return path
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// sink starts Postfix's smtp-sink and returns its address. Each message is a file in
// dir, if that is not empty.
func sink(t testing.TB, dir string, flags ...string) string {
	t.Helper()
	program := tool(t, "smtp-sink")
	args := flags
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	if dir != "" {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-R", dir, "-d", "m.")
	}
	for range 5 { // somebody may take the port between
		at := free(t)
		cmd := exec.Command(program, append(args, at, "1024")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		if answers(at, ended) {
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				<-ended
			})
			return at
		}
		_ = cmd.Process.Kill()
		<-ended
		t.Log(said.String())
	}
	t.Fatal("smtp-sink does not start")
	return ""
}

func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until a server accepts connections, unless it ends before.
func answers(at string, ended <-chan struct{}) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", at); err == nil {
			_ = c.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
	}
}

func TestSMTPSink(t *testing.T) {
	for name, flags := range map[string][]string{
		"pipelining": nil, "lockstep": {"-p"}, "without ESMTP": {"-e"}, "7 bit": {"-8"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := newChannel(t, "smtp://"+sink(t, dir, flags...)+"?tls=none", nil)
			u := sampleUpdate(2)
			u.Title, u.Message = "Störung 🙂", ".\n..\nüber "+strings.Repeat("lang", 500)
			for i := range 3 {
				m := messageOf(t, c, u, channels.Variant{}, fmt.Sprintf("t%d@customer.example", i))
				if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
					t.Fatal(r)
				}
			}
			files, err := filepath.Glob(filepath.Join(dir, "m.*"))
			if err != nil || len(files) != 3 {
				t.Fatal(files, err)
			}
			for _, file := range files {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				// The file has the dots as they went over the wire: none may be there.
				checkLines(t, bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), 998)
				if l := read(t, string(raw)); !strings.Contains(l.text, "Störung 🙂\n") {
					t.Errorf("%s", raw)
				}
			}
		})
	}
}

// Postfix's replies, as its own server puts them.
func TestSMTPSinkRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		flags []string
		class channels.Class
	}{
		"MAIL later":          {[]string{"-r", "mail"}, channels.Temporary},
		"RCPT never":          {[]string{"-f", "rcpt"}, channels.Permanent},
		"no mailbox":          {[]string{"-f", "rcpt", "-B", "550 5.1.1 Recipient address rejected: User unknown"}, channels.Gone},
		"DATA later":          {[]string{"-r", "data"}, channels.Temporary},
		"dot never":           {[]string{"-f", "."}, channels.Permanent},
		"hangs up":            {[]string{"-q", "data"}, channels.Temporary},
		"hangs up at the dot": {[]string{"-q", "."}, channels.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChannel(t, "smtp://"+sink(t, "", tc.flags...)+"?tls=none", nil)
			for range 2 {
				if r := c.Send(t.Context(), message(t, c, 1, address)); r.Class != tc.class {
					t.Errorf("%+v; want %s", r, tc.class)
				}
			}
		})
	}
}

// The relay of the demo finds each mail in its thread, once.
func TestThePeerOfTheDemo(t *testing.T) {
	p, err := peers.StartSMTP(peers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := newChannel(t, p.URL(), nil)
	for sequence := 1; sequence <= 3; sequence++ {
		for n := 1; n <= 5; n++ {
			m := message(t, c, sequence, peers.Mailbox(n))
			m.Target, m.ID = int64(n), incident.DeliveryID("default", "INC-8892", sequence, strconv.Itoa(n))
			if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
				t.Error(r)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if r := p.Report(); r.Delivered != 15 || !r.Sound() || len(r.Invalid) != 0 || r.Connections != 1 || r.BySequence[3] != 5 {
		t.Errorf("%+v, %+v", r.Report, r.Verdict)
	}
}

// notmuch shows one thread for each incident, whether the first mail came or not.
func TestNotmuchShowsOneThreadPerIncident(t *testing.T) {
	program := tool(t, "notmuch")
	dir := t.TempDir()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := noPeer(t, nil)
	n := 0
	for name, sequences := range map[string][]int{"INC-1": {1, 2, 3}, "INC-2": {2, 3}, "INC-3": {1}} {
		for _, sequence := range sequences {
			u := sampleUpdate(sequence)
			u.IncidentID = name
			raw, _ := compose(t, c, u, channels.Variant{Visibility: incident.Public})
			n++
			if err := os.WriteFile(filepath.Join(dir, "cur", fmt.Sprintf("%d:2,", n)), []byte(raw), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings := filepath.Join(dir, "config")
	if err := os.WriteFile(settings, []byte("[database]\npath="+dir+"\n[user]\nname=x\nprimary_email=jane@customer.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	notmuch := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "NOTMUCH_CONFIG="+settings, "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("notmuch %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	notmuch("new", "--quiet")
	if got := notmuch("count", "--output=messages", "*"); got != "6" {
		t.Errorf("%s messages", got)
	}
	if got := notmuch("count", "--output=threads", "*"); got != "3" {
		t.Errorf("%s threads; want one for each incident", got)
	}
	if got := notmuch("search", "--format=text", "INC-1"); !strings.Contains(got, "[3/3]") {
		t.Errorf("the thread of INC-1: %s", got)
	}
	// It reads the texts, too.
	if got := notmuch("count", "--output=messages", `"failing logins" and subject:"Logins fail"`); got == "0" {
		t.Error("the text is not found")
	}
}
