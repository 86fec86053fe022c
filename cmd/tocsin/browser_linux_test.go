package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browser is a Chromium of the test's own with one page, which talks the Chrome
// DevTools Protocol over a pipe: messages of JSON, each ended by a zero byte.
type browser struct {
	*testing.T
	to      *os.File
	from    *os.File
	in      *bufio.Reader
	session string
	sent    int
	loaded  bool // since the last open

	// requested are the URLs that the page asked for; complaints is what the
	// browser has against it, failed requests left out.
	requested, complaints []string
}

// startBrowser skips the test where there is no browser; `make deps` installs one.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("SKIPPED: chromium is not installed (make deps does that), so no browser has read the live page")
	}
	theirIn, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	command := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--disable-breakpad", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server",
		"--user-data-dir="+folder, "--remote-debugging-pipe")
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_CONFIG_HOME="+folder, "XDG_CACHE_HOME="+folder)
	command.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, as the protocol has it
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // with its helpers
		_ = command.Wait()                                      // says that it was killed
		to.Close()
		from.Close()
		// A helper that is just dying may still write there, and the removal of
		// the test's folder would fail.
		eventually(t, func() bool { return os.RemoveAll(folder) == nil })
	})
	b := &browser{T: t, to: to, from: from, in: bufio.NewReader(from)}
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// message is one of the protocol, in either direction.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// call calls a method and decodes its result, taking note of what happens until
// that comes.
func (b *browser) call(method string, params map[string]any, result any) {
	b.Helper()
	b.sent++
	if params == nil {
		params = map[string]any{}
	}
	text, err := json.Marshal(message{ID: b.sent, Session: b.session, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.Fatal(err)
	}
	for {
		m := b.read()
		if m.ID != b.sent {
			continue
		}
		if m.Error != nil {
			b.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
}

func (b *browser) read() (m message) {
	b.Helper()
	var event struct {
		Request struct{ URL string }
		Entry   struct{ Source, Level, Text string }
		Type    string
		Args    []struct{ Value, Description any }
		Details struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	m.Params = &event
	err := b.from.SetReadDeadline(time.Now().Add(docsPatience))
	var text []byte
	if err == nil {
		text, err = b.in.ReadBytes(0)
	}
	if err == nil {
		err = json.Unmarshal(text[:len(text)-1], &m)
	}
	if err != nil {
		b.Fatalf("the browser: %v", err)
	}
	switch m.Method {
	case "Page.loadEventFired":
		b.loaded = true
	case "Network.requestWillBeSent":
		b.requested = append(b.requested, event.Request.URL)
	case "Log.entryAdded":
		if event.Entry.Source != "network" {
			b.complaints = append(b.complaints, event.Entry.Source+": "+event.Entry.Text)
		}
	case "Runtime.consoleAPICalled":
		b.complaints = append(b.complaints, fmt.Sprint(event.Type, ": ", event.Args))
	case "Runtime.exceptionThrown":
		b.complaints = append(b.complaints, event.Details.Text+" "+event.Details.Exception.Description)
	}
	return m
}

// open shows a URL in a window of a width in CSS pixels, and returns once it is
// loaded.
func (b *browser) open(url string, width int) {
	b.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.loaded = false
	var answer struct{ ErrorText string }
	b.call("Page.navigate", map[string]any{"url": url}, &answer)
	if answer.ErrorText != "" {
		b.Fatalf("%s: %s", url, answer.ErrorText)
	}
	for !b.loaded {
		b.read()
	}
}

// ask evaluates an expression on the page, and waits for it if it is a promise.
func (b *browser) ask(expression string, result any) {
	b.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &answer)
	err := errors.New("there is no answer")
	switch {
	case answer.ExceptionDetails != nil:
		err = errors.New(answer.ExceptionDetails.Exception.Description)
	case len(answer.Result.Value) > 0:
		err = json.Unmarshal(answer.Result.Value, result)
	}
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
}

// until waits until a condition holds, looking at each change of the page.
func (b *browser) until(condition string) {
	b.Helper()
	var held bool
	b.ask(`new Promise((done) => {
		const look = () => { if (`+condition+`) { seen.disconnect(); clearTimeout(late); done(true); } };
		const seen = new MutationObserver(look);
		const late = setTimeout(() => { seen.disconnect(); done(false); }, 40_000);
		seen.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
		look();
	})`, &held)
	if !held {
		b.Fatalf("it does not come about that %s; the page says\n%s\nand the browser %q", condition, b.text("document.body.innerText"), b.complaints)
	}
}

// text evaluates an expression that is a string.
func (b *browser) text(expression string) (s string) {
	b.Helper()
	b.ask(expression, &s)
	return s
}

// strangers are the URLs that the page asked for and that don't begin with ours.
func (b *browser) strangers(ours string) []string {
	return slices.DeleteFunc(slices.Clone(b.requested), func(url string) bool {
		return strings.HasPrefix(url, ours) || strings.HasPrefix(url, "data:")
	})
}
