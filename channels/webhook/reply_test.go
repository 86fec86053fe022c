package webhook

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// script is a connection on which everything has already been said, in pieces. It
// counts how much of it was read.
type script struct {
	net.Conn // nil: only what follows is used
	text     io.Reader
	piece    int
	read     int
}

func (s *script) Read(p []byte) (int, error) {
	n, err := s.text.Read(p[:min(len(p), s.piece)])
	s.read += n
	return n, err
}

func (s *script) SetReadDeadline(time.Time) error { return nil }

func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		answerOK, "HTTP/1.1 100 Continue\r\n\r\n" + answerOK, "SSH-2.0-x\r\n", "HTTP/1.1 99999 X\r\n\r\n", "HTTP/1.1 200",
		"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 500 X\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "HTTP/1.0 200 OK\n\nx",
	} {
		f.Add([]byte(seed), uint8(200))
		f.Add([]byte(seed), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		s := &script{text: bytes.NewReader(text), piece: int(piece) + 1}
		c := &conn{Conn: &egress.Conn{Conn: s}, deadline: time.Now().Add(time.Hour)}
		var kept readers
		r := kept.get(c)
		got := r.read(c)
		if (got.status == 0) == (got.problem == "") {
			t.Errorf("status %d, problem %q", got.status, got.problem)
		}
		if got.status != 0 && !bytes.Contains(text, []byte("HTTP/1.")) {
			t.Errorf("status %d out of nothing", got.status)
		}
		if len(got.words) > maxWords || got.status/100 == 2 && len(got.words) > 0 {
			t.Errorf("%d bytes of words", len(got.words))
		}
		if got.clean && r.buf.Buffered() > 0 {
			t.Error("clean with something left")
		}
	})
}

// The same answer, whole or in pieces, is understood in the same way; and of one
// that never ends little is read.
func TestRepliesInPieces(t *testing.T) {
	text := "HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 503 Down\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlater\r\n0\r\n\r\n"
	for piece := 1; piece <= len(text); piece++ {
		c := &conn{Conn: &egress.Conn{Conn: &script{text: bytes.NewReader([]byte(text)), piece: piece}}}
		var kept readers
		got := kept.get(c).read(c)
		if got.status != 503 || string(got.retryAfter) != "7" || string(got.words) != "later" || !got.clean {
			t.Fatalf("in pieces of %d: %+v", piece, got)
		}
	}
}

func TestLittleIsReadOfEndlessAnswers(t *testing.T) {
	for name, tc := range map[string][2]string{
		"body":    {"HTTP/1.1 500 X\r\n\r\n", "abc "},
		"chunks":  {"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"},
		"headers": {"HTTP/1.1 500 X\r\n", "X: abcdefghijklmnop\r\n"},
		"interim": {"", "HTTP/1.1 102 X\r\nA: " + string(bytes.Repeat([]byte("b"), 4000)) + "\r\n\r\n"},
		"line":    {"HTTP/1.1 500 ", "xxxxxxxxxxxxxxxxx"},
	} {
		s := &script{text: io.MultiReader(bytes.NewReader([]byte(tc[0])), &endless{text: tc[1]}), piece: 1 << 20}
		c := &conn{Conn: &egress.Conn{Conn: s}}
		var kept readers
		got := kept.get(c).read(c)
		if s.read > 64<<10 || got.clean {
			t.Errorf("%s: read %d bytes, clean %t", name, s.read, got.clean)
		}
	}
}

// endless repeats its text.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[e.at%len(e.text)]
		e.at++
	}
	return len(p), nil
}
