package tool

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsNotInstalledSaysHowTo(t *testing.T) {
	_, err := Find("no-such-program", "some-package")
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install --no-install-recommends some-package") {
		t.Error(err)
	}
	if path, err := Find("sh", "dash"); err != nil || path == "" {
		t.Error(path, err)
	}
}

// installed skips the test where a program is missing.
func installed(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer
}

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNginxServesTheDocument(t *testing.T) {
	document := strings.Repeat("<entry/>", 1000)
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	io.WriteString(pack, document)
	pack.Close()
	n, err := StartNginx([]byte(document), packed.Bytes())
	installed(t, err)
	dir := n.dir
	// The master and its workers: nginx as it comes has one for each core.
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children"); err == nil && len(n.PIDs()) < 2 {
		t.Errorf("the processes are %v", n.PIDs())
	}
	plain := get(t, n.URL)
	if got := read(t, plain.Body); got != document || plain.Header.Get("Content-Type") != "application/atom+xml" {
		t.Errorf("%d bytes, %v", len(got), plain.Header)
	}
	zipped := get(t, n.URL, "Accept-Encoding", "gzip")
	if got := read(t, zipped.Body); got != packed.String() || zipped.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes, %v", len(got), zipped.Header)
	}
	for _, answer := range []*http.Response{plain, zipped} {
		tag := answer.Header.Get("Etag")
		if again := get(t, n.URL, "If-None-Match", tag, "Accept-Encoding", answer.Header.Get("Content-Encoding")); tag == "" || again.StatusCode != http.StatusNotModified {
			t.Errorf("%d to %s", again.StatusCode, tag)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if c, err := net.Dial("tcp", n.Address); err == nil {
		c.Close()
		t.Error("nginx still listens")
	}
	if _, err := StartNginx(nil, nil); err == nil {
		t.Error("there was nothing to serve")
	}
}

func TestSMTPSinkCounts(t *testing.T) {
	s, err := StartSMTPSink()
	installed(t, err)
	for range 3 {
		if err := smtp.SendMail(s.Address, nil, "a@example.com", []string{"b@example.com"}, []byte("Subject: x\r\n\r\ny\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	// It counts when it has answered the final dot: before the goodbye of SendMail.
	if n, err := s.Mails(); n != 3 || err != nil {
		t.Errorf("%d mails, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Mails(); err == nil {
		t.Error("its folder is still there")
	}
}

func TestCounts(t *testing.T) {
	for said, want := range map[string]int{
		"": 0, "sess=1": 0, "sess=0 quit=0 mesg=1\r": 1, "sess=0 quit=0 mesg=1\rsess=1 quit=1 mesg=12\rsess=2 quit=1 mesg=1": 12,
		"mesg=\r": 0, "mesg=-4\r": 0, "\r": 0,
	} {
		if got := lastCount([]byte(said)); got != want {
			t.Errorf("%q: %d; want %d", said, got, want)
		}
	}
}

// A program that ends instead of listening is reported with its own words, and its
// folder is gone.
func TestServersThatDoNotStart(t *testing.T) {
	sh, err := Find("sh", "dash")
	installed(t, err)
	var dirs []string
	_, err = start(func(string) (*Server, error) {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		return &Server{dir: dir, cmd: exec.Command(sh, "-c", "echo no such luck >&2; exit 1")}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "no such luck") || len(dirs) != startTries {
		t.Errorf("%v after %d tries", err, len(dirs))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	_, err = start(func(string) (*Server, error) { return &Server{cmd: exec.Command("/no/such/program")}, nil })
	if err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestTheEndOfWhatIsSaid(t *testing.T) {
	var said tail
	for range 100 {
		io.WriteString(&said, strings.Repeat("x", 100))
	}
	io.WriteString(&said, "end\n")
	if got := said.String(); len(got) > 4<<10 || !strings.HasSuffix(got, "xend") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
