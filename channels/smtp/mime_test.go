package smtp

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkLines fails the test if b is not made of lines that every relay takes.
func checkLines(t *testing.T, b []byte, longest int) {
	t.Helper()
	for i, line := range bytes.Split(b, []byte("\r\n")) {
		if len(line) > longest {
			t.Errorf("line %d has %d bytes: %q", i, len(line), line)
		}
		if bytes.HasPrefix(line, []byte(".")) || bytes.HasPrefix(line, []byte("From ")) {
			t.Errorf("line %d begins in a way that is changed on the way: %q", i, line)
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Errorf("line %d is not plain: %q", i, line)
		}
	}
}

func FuzzQuoted(f *testing.F) {
	for _, seed := range []string{"", ".", "\n.\n", "From me\nFrom you", "a=b ", "tab\t\nend ", strings.Repeat("x", 200), strings.Repeat(".", 200),
		"Grüße 🙂\n", strings.Repeat("ü", 80), "\x00\xff", strings.Repeat("a", 72) + ".b", strings.Repeat(" ", 80) + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		clean := plainText(text)
		got := appendQuoted(nil, clean)
		checkLines(t, got, maxLine)
		back, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(got)))
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(string(back), "\r\n", "\n") != clean {
			t.Errorf("%q became %q and then %q", clean, got, back)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, seed := range []string{"", "Logins fail", "a\r\nBcc: x@y.example", "=?utf-8?q?=0D=0ABcc:?=", "Anmeldung gestört 🙂",
		strings.Repeat("long ", 60), strings.Repeat("ö", 255), "\x00\x1b", "tail ", "\u2028x", "\xff\xfe"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		clean := oneLine(text, maxSubject)
		got := header("Subject", clean)
		checkLines(t, []byte(got), maxLine)
		m, err := mail.ReadMessage(strings.NewReader(got + "\r\n"))
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		back, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Header) != 1 || back != clean {
			t.Errorf("%q became %q and then %q in %d headers", clean, got, back, len(m.Header))
		}
		if utf8.RuneCountInString(clean) > maxSubject {
			t.Errorf("%d characters", utf8.RuneCountInString(clean))
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 Ok\r\n", "250\r\n", "250-a\r\n250 b\r\n", "250-a\r\n550 b\r\n", "25", "2500\r\n", "999 x\r\n", "250 " + strings.Repeat("x", 9000) + "\r\n", "550 5.1.1 x\n", "-1", "+25 x\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		from := bufio.NewReaderSize(strings.NewReader(text), 64)
		var r reply
		err := r.read(from)
		if err == nil && (r.code < 200 || r.code > 599) {
			t.Errorf("code %d of %q", r.code, text)
		}
		if r.code != 0 && !strings.HasPrefix(text, string([]byte{byte('0' + r.code/100), byte('0' + r.code/10%10), byte('0' + r.code%10)})) {
			t.Errorf("code %d of %q", r.code, text)
		}
		if s := r.status(); s != "" && !strings.HasPrefix(string(r.words().Text), s) {
			t.Errorf("status %q of %q", s, text)
		}
	})
}

func TestStatus(t *testing.T) {
	for text, want := range map[string]string{
		"5.1.1 no": "5.1.1", "5.1.10": "5.1.10", "4.7.0 x": "4.7.0", "5.1": "", "5.1.1.1 x": "", "x5.1.1": "", "5.1.1x": "", "5..1 x": "", "": "", "55.1.1": "", "5.1234.1": "",
	} {
		if got := statusOf(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMailboxes(t *testing.T) {
	for _, good := range []string{"ops@example.com", "a.b+c=d@x-y.example", "O'Hara@example.com", "x@localhost", "!#$%&*/?^_`{|}~@example.com"} {
		if !mailbox(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "@", "a@", "@b.example", "a b@c.example", "a@b\r\nRCPT TO:<x@y.example>", "a@b.example\x00", "a\n@b.example",
		`"a b"@c.example`, "a@[127.0.0.1]", "-oQ/tmp@x.example", "a@b@c.example", "a,b@c.example", "<a@b.example>", "a@b.example>", "ü@example.com",
		"a@exämple.com", "a@-b.example", "a..b@c.example", ".a@b.example", "a.@b.example", "a@b..example", "a@" + strings.Repeat("x", 300), strings.Repeat("x", 65) + "@b.example",
		"a@b.example SIZE=1", "a(comment)@b.example", "a@b.example."} {
		if mailbox(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestLinks(t *testing.T) {
	for _, good := range []string{"https://status.example.com/u/7?t=a&s=b_-~=", "http://127.0.0.1:9/u"} {
		if err := checkLink(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/u/7", "javascript:alert(1)", "mailto:a@b.example", "https://x/\r\nBcc: y", "https://x/ y", "https://x/>y", `https://x/"y`, "https://x/'y",
		"https://x/ü", "https://u:p@x/", "https:///u", "https://x/a,b", "https://x/" + strings.Repeat("y", 900)} {
		if checkLink(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
