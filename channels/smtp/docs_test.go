package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

// said is a reply as the documentation's tables see it.
type said struct {
	code         int
	status, step string
	unknown      bool // the words say that there is no such mailbox
}

func (s said) text() string {
	text := "as you like"
	if s.unknown {
		text = "no such user here"
	}
	return strings.TrimSpace(s.status + " " + text)
}

// everyReply calls f with replies of every code at the steps given.
func everyReply(steps []string, f func(said)) {
	for code := 200; code <= 599; code++ {
		for _, status := range []string{"", "2.0.0", "4.2.2", "4.7.0", "4.7.28", "5.1.1", "5.1.10", "5.1.2", "5.7.1"} {
			for _, step := range steps {
				f(said{code, status, step, false})
				f(said{code, status, step, true})
			}
		}
	}
}

// judged holds a table of replies against the code: the first row that fits decides,
// and every row does at some time.
func judged(t *testing.T, rows [][]string, steps []string, judge func(said) []string) {
	t.Helper()
	codes, used := make([]func(int) bool, len(rows)), make([]bool, len(rows))
	for i, row := range rows {
		codes[i] = channeltest.Numbers(t, row[0])
	}
	everyReply(steps, func(s said) {
		at := 0
		for at < len(rows) && !(codes[at](s.code) && statusFits(rows[at][1], s) && stepFits(rows[at][2], s)) {
			at++
		}
		if at == len(rows) {
			t.Fatalf("docs/channels.md has no class for %+v", s)
		}
		used[at] = true
		if got := judge(s); !slices.Equal(got, rows[at][3:]) {
			t.Errorf("docs/channels.md says %q of %+v; it is %q", rows[at][3:], s, got)
		}
	})
	for i, row := range rows {
		if !used[i] {
			t.Errorf("docs/channels.md has a row %q that never decides", row)
		}
	}
}

func statusFits(cell string, s said) bool {
	switch {
	case cell == "any", cell == "4.7.x" && strings.HasPrefix(s.status, "4.7."):
		return true
	case strings.HasPrefix(cell, "none, and words"):
		return s.status == "" && s.unknown
	}
	return slices.Contains(strings.Split(cell, ", "), s.status)
}

func stepFits(cell string, s said) bool {
	return cell == "any" || slices.Contains(strings.Split(cell, ", "), s.step)
}

func TestDocumentedReplies(t *testing.T) {
	rows := channeltest.ReadDocs(t, "## Mail").Table(t, "reply")
	judged(t, rows, []string{stepReset, stepMail, stepRecipient, stepData, stepMessage}, func(s said) []string {
		r := reply{code: s.code}
		r.keep([]byte(s.text()))
		return []string{classOf(s.step, &r).String()}
	})
}

func TestDocumentedRepliesToTheOpening(t *testing.T) {
	rows := channeltest.ReadDocs(t, "## Mail").Section(t, "### Before the message").Table(t, "reply")
	judged(t, rows, []string{stepGreeting, stepHello, stepSecure, stepLogin}, func(s said) []string {
		connection := ""
		got := openFailed(s.step, &textproto.Error{Code: s.code, Msg: s.text()}, new(relay))
		if got.NoConnection {
			connection = "none"
		}
		return []string{got.Class.String(), connection}
	})
}

func TestDocumentedResults(t *testing.T) {
	made := []channels.Result{notSent, temporary(silence(io.EOF) + " in the middle of the message")}
	for _, err := range []error{
		&egress.Error{Detail: "tls_error: timeout"}, os.ErrDeadlineExceeded, io.EOF, errEndless, errGarbage, errors.New("else"),
		errPlain, errNoStartTLS, errInjected, errMechanism,
	} {
		made = append(made, openFailed(stepHello, err, new(relay)))
	}
	end, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, when := range []struct{ verb, answer string }{
		{"RCPT", silent}, {"RCPT", hangUp}, {".", hangUp}, {".", silent}, {".", "<stop>"},
	} {
		p := &peer{answer: func(verb string, _ int) string {
			switch {
			case verb != when.verb:
				return usual
			case when.answer == "<stop>":
				cancel()
				return silent
			}
			return when.answer
		}}
		c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) {
			c.Timeout, c.FinalTimeout = time.Second, time.Second
			if when.answer == "<stop>" {
				c.FinalTimeout = time.Minute
			}
		})
		made = append(made, c.Send(end, message(t, c, 1, address)))
	}
	link := "https://status.example.com/u/1"
	c := newChannel(t, "smtp://"+channeltest.FreeAddress(t)+"?tls=none", func(c *Config, _ *egress.Config) {
		c.Unsubscribe = func(int64) string { return link }
	})
	for _, change := range []func(*channels.Message){
		func(*channels.Message) {}, // nobody listens
		func(m *channels.Message) { m.Provider = "else" },
		func(m *channels.Message) { m.Payload = nil },
		func(m *channels.Message) { m.Address = "jane" },
		func(m *channels.Message) { m.ID = "a>b" },
		func(*channels.Message) { link = "javascript:" },
	} {
		m := message(t, c, 1, address)
		change(m)
		made = append(made, c.Send(t.Context(), m))
	}
	r := &relay{route: c.first.route, endpoint: egress.Endpoint{Host: "127.0.0.1"}}
	_, failed := r.open(t.Context())
	channeltest.ReadDocs(t, "## Mail").Results(t, append(made, failed))
}

func TestDocumentedLimits(t *testing.T) {
	config := Defaults()
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	channeltest.ReadDocs(t, "## Mail").Match(t, "limit", map[string]string{
		"sessions of a relay (smtp[].connections)":        fmt.Sprintf("%d, at most %d", defaultConnections, maxConnections),
		"name lookup, connect and TLS handshake together": seconds(config.ConnectTimeout),
		"greeting, STARTTLS and AUTH":                     seconds(config.Timeout),
		"MAIL, RCPT and DATA":                             seconds(config.Timeout),
		"the message and the answer to it":                seconds(config.FinalTimeout),
		"read of a relay while a session is opened":       fmt.Sprintf("%d KiB", maxOpening>>10),
		"read of a relay in one transaction":              fmt.Sprintf("%d KiB", maxTransaction>>10),
		"words of a reply that are kept":                  fmt.Sprintf("%d B", maxWords),
		"subject":                                         fmt.Sprintf("%d characters", maxSubject),
		"unsubscribe link":                                fmt.Sprintf("%d B", maxLink),
		"entries of the timeline":                         fmt.Sprint(channels.MaxRecent),
		"their messages together":                         fmt.Sprintf("%d KiB", channels.MaxRecentText>>10),
	})
}

func TestDocumentedMail(t *testing.T) {
	raw, _ := compose(t, noPeer(t, nil), sampleUpdate(2), channels.Variant{Visibility: incident.Public})
	example := channeltest.ReadDocs(t, "## Mail").Example(t)
	if len(example) < 1000 || !strings.HasPrefix(strings.ReplaceAll(raw, "\r\n", "\n"), example) {
		t.Errorf("docs/channels.md has another mail than is sent; that is\n%s", raw)
	}
}
