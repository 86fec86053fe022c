package smpp

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestDocumentedStatuses(t *testing.T) {
	want := map[string][2]string{"others": {"command_status 0x…", classOf(0x401).String()}}
	for s, known := range statuses {
		want[fmt.Sprintf("0x%02X", uint32(s))] = [2]string{known.name, known.class.String()}
	}
	if classOf(0x100) != classOf(0x401) || classOf(0xFFFFFFFF) != classOf(0x401) {
		t.Error("the others are not all of one class")
	}
	for _, row := range channeltest.ReadDocs(t, "## SMS").Table(t, "command_status") {
		if known, ok := want[row[0]]; !ok || known != [2]string{row[1], row[2]} {
			t.Errorf("docs/channels.md has %q; it is %q", row, known)
		}
		delete(want, row[0])
	}
	for code, status := range want {
		t.Errorf("docs/channels.md lacks %s, %q", code, status)
	}
}

func TestDocumentedResults(t *testing.T) {
	made := []channels.Result{notSent}
	noBind := func(err error) {
		r := failed(channels.Temporary, reason(err)) // as Send says it without a bind
		r.NoConnection = true
		made = append(made, r)
	}
	for _, err := range []error{&egress.Error{Detail: "connect: refused"}, errors.New("else"), bindRefused{0x0D}, errNoBindResp,
		errClosedBind, errBabble} {
		noBind(err)
	}
	for _, lost := range []linkError{errCut, errUnbound, errDead, errNotReading, errStalled, errLength, errClosing, errIdle} {
		x := exchange{submits: make([][]byte, 1)}
		x.take(answer{lost: lost})
		made = append(made, x.result())
	}
	x := exchange{submits: make([][]byte, 1)}
	made = append(made, x.abandoned("no response in time", "no room in the window in time"))
	x.sequences = []uint32{1}
	made = append(made, x.abandoned("no response in time", "no room in the window in time"))
	made = append(made, x.abandoned("stopped while it waited for the response", ""))

	c := piped(t, nil, func(_ int, c *centre) { c.accept(); c.takeAll() })
	for _, change := range []func(*channels.Message){
		func(m *channels.Message) { m.Payload = nil },
		func(m *channels.Message) { m.Provider = "else" },
		func(m *channels.Message) { m.Address = "12" },
	} {
		m := message(t, c, false)
		change(m)
		made = append(made, c.Send(t.Context(), m))
	}
	channeltest.ReadDocs(t, "## SMS").Section(t, "### Without a status").Results(t, made)
}

func TestDocumentedReceipts(t *testing.T) {
	want := map[string]string{}
	for i, word := range stateWords {
		s := State(i + 1)
		if want[word] = "receipt: " + (Receipt{State: s}).Detail(); !s.Final() {
			want[word] = "not recorded"
		}
	}
	docs := channeltest.ReadDocs(t, "## SMS")
	docs.Match(t, "state", want)
	if sample := "receipt: " + (Receipt{State: StateUndeliverable, Err: "01b"}).Detail(); !docs.Says("`" + sample + "`") {
		t.Errorf("docs/channels.md lacks %s", sample)
	}
}

func TestDocumentedWordsThatOptOut(t *testing.T) {
	var got []string
	for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(channeltest.ReadDocs(t, "## SMS").Paragraph(t, "**STOP.**"), -1) {
		got = append(got, word[1])
	}
	if !slices.Equal(got, optOutWords) {
		t.Errorf("docs/channels.md has %q; the words are %q", got, optOutWords)
	}
}

func TestDocumentedLimits(t *testing.T) {
	config := Defaults()
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	channeltest.ReadDocs(t, "## SMS").Match(t, "limit", map[string]string{
		"segments of a message":                                      fmt.Sprint(MaxSegments),
		"a message of one segment":                                   fmt.Sprintf("%d septets or %d characters of UCS-2", gsmSingle, ucs2Single/2),
		"a segment of more":                                          fmt.Sprintf("%d septets or %d characters of UCS-2", gsmPart, ucs2Part/2),
		"window of a bind (smpp[].window)":                           fmt.Sprintf("at most %d", maxWindow),
		"binds of an account (smpp[].binds)":                         fmt.Sprintf("at most %d", maxBinds),
		"name lookup, connect and TLS handshake together":            seconds(config.ConnectTimeout),
		"a response, and room in the window":                         seconds(config.ResponseTimeout),
		"one write, and a PDU that has begun":                        seconds(config.WriteTimeout),
		"silence before enquire_link":                                seconds(config.EnquireLink),
		"an exclusive bind without a message":                        seconds(config.IdleTime),
		"unbind":                                                     seconds(config.CloseTimeout),
		"pause before a bind is tried again":                         seconds(config.RetryBase) + " doubled up to " + seconds(config.RetryCap) + ", less up to half by chance",
		"a PDU that is read":                                         fmt.Sprintf("%d KiB", maxPDU>>10),
		"receipts and messages that are recorded at once, on a bind": fmt.Sprint(maxRecording),
	})
}

func TestDocumentedText(t *testing.T) {
	if got, want := channeltest.ReadDocs(t, "## SMS").Example(t), compose(sampleUpdate(), "en")+"\n"; got != want {
		t.Errorf("docs/channels.md has another message than is sent; that is\n%s", want)
	}
}
