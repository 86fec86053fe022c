package smpp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// happening is a line of testdata/smsc/smsc.js.
type happening struct {
	Event   string
	Port    int
	Version int
	ID      string
	From    string
	FromTON int `json:"from_ton"`
	To      string
	ToTON   int `json:"to_ton"`
	Coding  int
	Text    string
	UDH     []string
	Report  int
	Status  int
}

// foreign is npm's smpp as an SMS centre, in a process that ends with the test.
type foreign struct {
	t      *testing.T
	orders io.Writer
	events chan happening
	port   int
}

func startForeign(t *testing.T) *foreign {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if testing.Short() {
				t.Skipf("%s is not installed", tool)
			}
			t.Fatalf("%s is not installed: run `make deps`, or `go test -short` to do without", tool)
		}
	}
	folder := t.TempDir()
	for _, file := range []string{"package.json", "package-lock.json", "smsc.js"} {
		content, err := os.ReadFile(filepath.Join("testdata", "smsc", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		if testing.Short() {
			t.Skip("npm can't install the smpp package")
		}
		t.Fatalf("npm can't install the smpp package (%v); it needs a registry, once:\n%s", err, out)
	}
	node := exec.Command("node", "smsc.js")
	node.Dir, node.Stderr = folder, os.Stderr
	orders, err := node.StdinPipe() // node ends with it, even if this process is killed
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	f := &foreign{t: t, orders: orders, events: make(chan happening, 1000)}
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(f.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var h happening
			if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
				t.Errorf("%q: %v", lines.Text(), err)
			}
			f.events <- h
		}
	})
	t.Cleanup(func() {
		orders.Close()
		reader.Wait()
		if err := node.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	f.port = f.next("listening").Port
	return f
}

// next skips to the next event of that name.
func (f *foreign) next(name string) happening {
	f.t.Helper()
	patience := time.After(time.Minute)
	for {
		select {
		case h, ok := <-f.events:
			if !ok {
				f.t.Fatalf("the centre ended before %q", name)
			}
			if h.Event == name {
				return h
			}
		case <-patience:
			f.t.Fatalf("%q never happened", name)
		}
	}
}

func (f *foreign) order(format string, args ...any) {
	f.t.Helper()
	if _, err := fmt.Fprintf(f.orders, format+"\n", args...); err != nil {
		f.t.Fatal(err)
	}
}

// The whole life of an account at a centre that is not ours.
func TestForeignSMSC(t *testing.T) {
	f := startForeign(t)
	stranger := listening(t, testConfig(func(c *Config) {
		c.Accounts[0].URL = fmt.Sprintf("smpp://tocsin:wrong@127.0.0.1:%d", f.port)
	}))
	wantResult(t, stranger.Send(t.Context(), message(t, stranger, false)),
		channels.Result{Class: channels.Temporary, Detail: "bind refused: ESME_RINVPASWD", NoConnection: true})

	receipts, optOuts := make(chan Receipt, 100), make(chan string, 100)
	refuse := make(chan struct{}, 1)
	refuse <- struct{}{}
	config := testConfig(func(c *Config) {
		c.Accounts[0].URL = fmt.Sprintf("smpp://tocsin:%s@127.0.0.1:%d", testPassword, f.port)
		c.EnquireLink = 300 * time.Millisecond
		c.RetryBase, c.RetryCap = 20*time.Millisecond, 20*time.Millisecond
		c.Receipt = func(_ context.Context, r Receipt) error {
			select {
			case <-refuse:
				return errors.New("the store is down")
			default:
			}
			receipts <- r
			return nil
		}
		c.OptOut = func(_ context.Context, provider, number string) error {
			optOuts <- provider + " " + number
			return nil
		}
	})
	c := listening(t, config)
	if bound := f.next("bound"); bound.Version != 0x34 {
		t.Errorf("bound with version %#x", bound.Version)
	}
	f.next("enquire_link")
	f.order(`{"do":"enquire"}`)
	if alive := f.next("alive"); alive.Status != 0 {
		t.Errorf("enquire_link is answered with %d", alive.Status)
	}

	send := func(text string) (channels.Result, *channels.Message) {
		t.Helper()
		m := message(t, c, false)
		u := sampleUpdate()
		u.Message = text
		p, err := c.Render(u, channels.Variant{})
		if err != nil {
			t.Fatal(err)
		}
		m.Update, m.Payload = u, p
		return c.Send(t.Context(), m), m
	}
	for _, text := range []string{
		"All of GSM: @£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà ^{}\\[~]|€",
		strings.Repeat("Long, with €uros and {braces}. ", 20),
		"Русский текст, 中文, 😀.",
		strings.Repeat("Длинный текст 👩‍🚒😀. ", 20),
	} {
		got, m := send(text)
		if got.Class != channels.Delivered || got.Handle == "" {
			t.Fatalf("got %+v", got)
		}
		var whole strings.Builder
		segments := c.Cost(m.Payload)
		for i := range segments {
			s := f.next("submit")
			whole.WriteString(s.Text)
			if i == 0 && s.ID != got.Handle || s.To != testNumber[1:] || s.ToTON != 1 || s.From != "STATUS" || s.FromTON != 5 {
				t.Errorf("the centre received %+v; the handle is %s", s, got.Handle)
			}
			if wanted := 1 - min(i, 1); s.Report != wanted {
				t.Errorf("segment %d has registered_delivery %d", i+1, s.Report)
			}
			if segments > 1 {
				if want := fmt.Sprintf("0003%02x%02x%02x", reference(m), segments, i+1); len(s.UDH) != 1 || s.UDH[0] != want {
					t.Errorf("segment %d has the header %v; want %s", i+1, s.UDH, want)
				}
			} else if len(s.UDH) != 0 {
				t.Errorf("a message of one segment has the header %v", s.UDH)
			}
		}
		if want := compose(m.Update, ""); whole.String() != want {
			t.Errorf("the centre read %q; want %q", whole.String(), want)
		}
		r := <-receipts
		if r.MessageID != got.Handle || r.State != StateDelivered || r.Err != "000" || r.Done.Minute() != 4 {
			t.Errorf("receipt %+v for %+v", r, got)
		}
	}

	for number, want := range map[string]channels.Result{
		"+4915100000058": failed(channels.Throttled, "ESME_RTHROTTLED"), "+4915100000014": failed(channels.Throttled, "ESME_RMSGQFUL"),
		"+4915100000008": failed(channels.Temporary, "ESME_RSYSERR"), "+4915100000011": failed(channels.Permanent, "ESME_RINVDSTADR"),
	} {
		m := message(t, c, false)
		m.Address = number
		wantResult(t, c.Send(t.Context(), m), want)
	}

	f.order(`{"do":"say","from":"4915199999999","text":"Stop!","coding":0}`)
	if said := f.next("said"); said.Status != 0 {
		t.Errorf("STOP is answered with %d", said.Status)
	}
	f.order(`{"do":"say","from":"4915188888888","text":"СТОП","coding":8}`)
	f.next("said")
	if a, b := <-optOuts, <-optOuts; a != "acme +4915199999999" || b != "acme +4915188888888" {
		t.Errorf("opt-outs %q, %q", a, b)
	}

	for _, end := range []string{"unbind", "cut"} {
		f.order(`{"do":%q}`, end)
		f.next("bound")
		if got, _ := send("again"); got.Class != channels.Delivered {
			t.Errorf("after %s: %+v", end, got)
		}
		f.next("submit")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	f.next("unbind")
	if s := c.Accounts()[0]; s.Receipts < 4 || s.OptOuts != 2 || s.Strays != 0 {
		t.Errorf("%+v", s)
	}
}
