package peer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func startSMTP(t *testing.T, o Options) *SMTP {
	t.Helper()
	s, err := StartSMTP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dialSMTP is a session by the standard library's client.
func dialSMTP(t *testing.T, s *SMTP) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func letter(n int, incident string, sequence int) string {
	reply := ""
	if sequence > 1 {
		reply = "Re: "
	}
	root := fmt.Sprintf("<thr_%026x@status.example.com>", fmt.Sprint(n, incident))
	return strings.ReplaceAll(fmt.Sprintf("From: a@example.com\nTo: %s\nSubject: %s[default] x\nDate: Sat, 21 Nov 2026 05:12:01 +0000\n"+
		"Message-ID: <%s@status.example.com>\nIn-Reply-To: %s\nReferences: %s\nTocsin-Incident: %s\nTocsin-Sequence: %d\nMIME-Version: 1.0\n"+
		"Content-Type: multipart/alternative; boundary=b\n\n--b\n\n.dot\n--b--\n",
		Mailbox(n), reply, testID(n, sequence), root[:31]+root[len(root)-len("@status.example.com>"):],
		root[:31]+root[len(root)-len("@status.example.com>"):], incident, sequence), "\n", "\r\n")
}

// deliver sends a message and returns the code of the first refusal, or 250; 0 if the
// connection ended.
func deliver(c *smtp.Client, to, content string) int {
	code := func(err error) int {
		if said, ok := err.(*textproto.Error); ok {
			_ = c.Reset()
			return said.Code
		}
		return 0
	}
	if err := c.Mail("status@example.com"); err != nil {
		return code(err)
	}
	if err := c.Rcpt(to); err != nil {
		return code(err)
	}
	w, err := c.Data()
	if err != nil {
		return code(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		return 0
	}
	if err := w.Close(); err != nil {
		return code(err)
	}
	return 250
}

func TestSMTPBehaviours(t *testing.T) {
	file := filepath.Join(t.TempDir(), "receipts")
	s := startSMTP(t, Options{Receipts: file, Script: scripted(map[int]Behaviour{
		2: {Kind: Throttled, Times: 2},
		3: {Kind: Faulty, Times: 1},
		4: {Kind: Dead},
		5: {Kind: Gone},
		6: {Kind: Slow, After: 20 * time.Millisecond},
		7: {Kind: Refusing},
	})})
	for n, want := range map[int][]int{1: {250, 250}, 2: {450, 450, 250}, 3: {451, 250}, 4: {451, 451}, 5: {550, 550}, 6: {250}, 7: {0}} {
		c := dialSMTP(t, s)
		for i, code := range want {
			if got := deliver(c, Mailbox(n), letter(n, "INC-1", i+1)); got != code {
				t.Errorf("message %d to target %d is answered %d, want %d", i+1, n, got, code)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report := s.Report()
	if report.Requests != 10 || report.Delivered != 5 || report.Refused != 1 || report.Pending != 0 || !report.Sound() ||
		len(report.Invalid) != 0 || report.Connections != 7 || report.Latencies.Count != 10 {
		t.Errorf("%+v, verdict %+v", report.Report, report.Verdict)
	}
	for _, r := range s.Receipts() {
		if r.ID != testID(r.Target, r.Sequence) || r.Incident != "INC-1" || r.AnsweredAt.Before(r.ReceivedAt) {
			t.Errorf("receipt %+v", r)
		}
		if r.Target == 6 && r.AnsweredAt.Sub(r.ReceivedAt) < 20*time.Millisecond {
			t.Errorf("the slow target answered early: %+v", r)
		}
	}
}

func TestASilentMailboxIsReceivedButNotAnswered(t *testing.T) {
	asked := make(chan struct{}, 2)
	s := startSMTP(t, Options{Script: func(int) Behaviour {
		asked <- struct{}{}
		return Behaviour{Kind: Silent}
	}})
	c := dialSMTP(t, s)
	var all sync.WaitGroup
	all.Go(func() { deliver(c, Mailbox(1), letter(1, "INC-1", 1)) })
	<-asked // at RCPT
	<-asked // when the message was read
	if s.Open() != 1 {
		t.Errorf("%d are open", s.Open())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if got := s.Receipts(); len(got) != 1 || got[0].Status != 0 || s.Report().Unanswered != 1 {
		t.Errorf("%+v", got)
	}
}

func TestARelayThatLeavesSaysSo(t *testing.T) {
	s := startSMTP(t, Options{})
	c := dialSMTP(t, s)
	if got := deliver(c, Mailbox(1), letter(1, "INC-1", 1)); got != 250 {
		t.Errorf("before: %d", got)
	}
	s.Leave()
	if got := deliver(c, Mailbox(2), letter(2, "INC-1", 1)); got != 421 {
		t.Errorf("in mid-session: %d", got)
	}
	if _, err := smtp.Dial(s.listener.Addr().String()); err == nil || !strings.HasPrefix(err.Error(), "421 ") {
		t.Errorf("a new connection got %v", err)
	}
	s.Stay()
	if got := deliver(dialSMTP(t, s), Mailbox(2), letter(2, "INC-1", 1)); got != 250 {
		t.Errorf("after: %d", got)
	}
	if n := len(s.Receipts()); n != 2 {
		t.Errorf("%d receipts", n)
	}
}

func TestMailsThatCanNotBeThreadedAreInvalid(t *testing.T) {
	good := letter(1, "INC-1", 2)
	for name, change := range map[string]func() string{
		"a Message-ID of another form": func() string { return strings.Replace(good, "<msg_", "<x_", 1) },
		"no root":                      func() string { return strings.Replace(good, "In-Reply-To: <thr_", "In-Reply-To: <x_", 1) },
		"two roots":                    func() string { return strings.Replace(good, "References: <thr_0", "References: <thr_x", 1) },
		"two subjects":                 func() string { return "Subject: x\r\n" + good },
		"no Re":                        func() string { return strings.Replace(good, "Re: ", "", 1) },
		"a Re too many":                func() string { return strings.Replace(letter(1, "INC-1", 1), "Subject: ", "Subject: Re: ", 1) },
		"no incident":                  func() string { return strings.Replace(good, "Tocsin-Incident", "Other", 1) },
		"no sequence":                  func() string { return strings.Replace(good, "Tocsin-Sequence: 2", "Tocsin-Sequence: 0", 1) },
		"another recipient":            func() string { return strings.Replace(good, "To: t1@", "To: t2@", 1) },
		"plain text alone":             func() string { return strings.Replace(good, "multipart/alternative", "text/plain", 1) },
		"no headers":                   func() string { return "hello\r\n" },
		"the root of another incident": func() string { return strings.Replace(good, "Incident: INC-1", "Incident: INC-2", 1) },
		"another root than before":     func() string { return otherRoot(good) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startSMTP(t, Options{})
			c := dialSMTP(t, s)
			if code := deliver(c, Mailbox(1), good); code != 250 {
				t.Fatal(code)
			}
			if code := deliver(c, Mailbox(1), change()); code != 554 {
				t.Errorf("%d", code)
			}
			if r := s.Report(); r.Requests != 1 || len(r.Invalid) != 1 {
				t.Errorf("%+v", r.Report)
			}
		})
	}
}

// otherRoot turns the roots of a letter around.
func otherRoot(content string) string {
	i := strings.Index(content, "<thr_") + len("<thr_")
	root := content[i : i+26]
	reversed := []byte(root)
	slices.Reverse(reversed)
	return strings.ReplaceAll(content, root, string(reversed))
}

func TestSMTPReceiptsComeOverControl(t *testing.T) {
	s := startSMTP(t, Options{})
	control := httptest.NewServer(s.Control())
	defer control.Close()
	c := dialSMTP(t, s)
	next := "0"
	for i := range 3 {
		if code := deliver(c, Mailbox(i+1), letter(i+1, "INC-1", 1)); code != 250 {
			t.Fatal(code)
		}
		if err := c.Noop(); err != nil { // the answer leaves before the receipt is written
			t.Fatal(err)
		}
		resp, err := http.Get(control.URL + "/receipts?from=" + next)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || bytes.Count(lines, []byte("\n")) != 1 || resp.Header.Get(OpenHeader) != "0" {
			t.Errorf("%q, %v", lines, err)
		}
		next = resp.Header.Get(NextHeader)
	}
	for path, want := range map[string]int{"/receipts?from=-1": 400, "/receipts?from=9999": 400, "/receipts?from=x": 400, "/report": 200} {
		resp, err := http.Get(control.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		if want == 200 {
			var report SMTPReport
			if err := json.NewDecoder(resp.Body).Decode(&report); err != nil || report.Delivered != 3 || report.MostConnections != 1 {
				t.Errorf("%+v, %v", report, err)
			}
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestMailboxes(t *testing.T) {
	for _, n := range []int{1, 42, MaxTargets} {
		if got := MailboxTarget(Mailbox(n)); got != n {
			t.Errorf("%d became %d", n, got)
		}
	}
	for _, address := range []string{"", "t@peer.example", "t0@peer.example", "t1@other.example", "x1@peer.example", "t99999999@peer.example", "t-1@peer.example"} {
		if n := MailboxTarget(address); n != 0 {
			t.Errorf("%q is target %d", address, n)
		}
	}
}
