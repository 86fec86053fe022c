package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"strings"

	"github.com/tocsin/tocsin/channels"
)

// maxWords is how much of a reply's text is kept, in bytes.
const maxWords = 400

// reply is what a relay answered to one command (RFC 5321, section 4.2).
type reply struct {
	code int
	text [maxWords]byte
	size int
}

// words are the beginning of the text, with its lines joined by spaces.
func (r *reply) words() channels.Words {
	return channels.Words{Text: r.text[:r.size], More: r.size == maxWords}
}

// status returns the enhanced status code (RFC 3463) that the text begins with, and
// "" if there is none.
func (r *reply) status() string { return statusOf(string(r.words().Text)) }

func statusOf(text string) string {
	first, _, _ := strings.Cut(text, " ")
	class, rest, ok := strings.Cut(first, ".")
	subject, detail, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || !digits(class, 1) || !digits(subject, 3) || !digits(detail, 3) {
		return ""
	}
	return first
}

func digits(s string, most int) bool {
	return s != "" && len(s) <= most && strings.Trim(s, "0123456789") == ""
}

func (r *reply) accepted() bool { return r.code/100 == 2 }

var errGarbage = errors.New("what the peer says is not SMTP")

// read takes one reply. The code counts as soon as it came: with an error, code is 0
// if there was none, and what the relay said otherwise, though the rest is broken.
func (r *reply) read(from *bufio.Reader) error {
	r.code, r.size = 0, 0
	begin, err := from.Peek(len("250"))
	if err != nil {
		return err
	}
	if _, _, _, ok := splitLine(begin); !ok {
		return errGarbage
	}
	if begin, err = from.Peek(len("250 ")); err != nil {
		return err
	}
	if code, _, _, ok := splitLine(begin); ok {
		r.code = code
	}
	for {
		line, err := from.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !long {
			return err
		}
		code, text, last, ok := splitLine(line)
		if !ok || r.code != 0 && code != r.code {
			return errGarbage
		}
		r.code = code
		r.keep(text)
		for long {
			_, err = from.ReadSlice('\n')
			if long = errors.Is(err, bufio.ErrBufferFull); err != nil && !long {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func (r *reply) keep(text []byte) {
	if r.size > 0 && r.size < maxWords {
		r.text[r.size] = ' '
		r.size++
	}
	r.size += copy(r.text[r.size:], text)
}

// splitLine takes "250-text" or "250 text" apart.
func splitLine(line []byte) (code int, text []byte, last, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' {
		return 0, nil, false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3:
		return code, nil, true, true
	case line[3] == ' ' || line[3] == '-':
		return code, line[4:], line[3] == ' ', true
	}
	return 0, nil, false, false
}
