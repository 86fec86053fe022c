package webhook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// headBuffer holds the head of nearly every answer, largeHead of those that
	// set many cookies. With more, the status is all that is used.
	headBuffer = 4 << 10
	largeHead  = 16 << 10
	// maxWords is how much of a failure's body is kept, maxBody how much of any is
	// read to be able to use the connection again, within bodyTime. All in bytes.
	maxWords = 512
	maxBody  = 8 << 10
	bodyTime = time.Second
	// maxInterim is how many 1xx answers may come before the final one.
	maxInterim = 8
)

// reply is what a peer answered. Its slices are the reader's, as it is itself.
type reply struct {
	// status is 0 if there was none; then problem says why.
	status     int
	problem    string
	retryAfter []byte
	// words is the beginning of a body that is not a 2xx's; more means that it is
	// not, or not for certain, the whole of it.
	words []byte
	more  bool
	// clean means that the answer ended where it should and nothing follows.
	clean bool
}

// reader reads one reply (RFC 9112).
type reader struct {
	reply reply
	buf   *bufio.Reader
	head  fasthttp.ResponseHeader
	exact io.LimitedReader
	words [maxWords]byte
	waste [maxWords]byte
}

// readers keeps readers for the next reply.
type readers struct{ pool sync.Pool }

func (r *readers) get(from io.Reader) *reader {
	kept, ok := r.pool.Get().(*reader)
	if !ok {
		kept = &reader{buf: bufio.NewReaderSize(from, headBuffer)}
	}
	kept.buf.Reset(from)
	return kept
}

func (r *readers) put(done *reader) {
	done.buf.Reset(nil)
	done.exact.R = nil
	done.reply = reply{}
	r.pool.Put(done)
}

// read takes one reply off c, interim ones before it included. It is the reader's.
func (r *reader) read(c *conn) *reply {
	for range maxInterim + 1 {
		status, problem := peekStatus(r.buf)
		if status == 0 {
			r.reply.problem = problem
			return &r.reply
		}
		rest, err := r.readHead()
		if status >= 200 || status == fasthttp.StatusSwitchingProtocols {
			r.reply.status = status
			if err == nil {
				r.finish(c, rest)
			}
			return &r.reply
		}
		if err != nil || rest != r.buf {
			r.reply.problem = "the answer ended after an interim one"
			return &r.reply
		}
	}
	r.reply.problem = "too many interim (1xx) answers"
	return &r.reply
}

// peekStatus reads the status of "HTTP/1.x 200 " without taking it. Answers are
// judged by it even if all that follows is broken or missing.
func peekStatus(buf *bufio.Reader) (status int, problem string) {
	const version, line = "HTTP/1.", "HTTP/1.1 200 "
	b, err := buf.Peek(len(line))
	if err != nil {
		return 0, silence(err)
	}
	if string(b[:len(version)]) != version || !digit(b[7]) || b[8] != ' ' {
		return 0, "the answer is not HTTP/1.1"
	}
	if !digit(b[9]) || !digit(b[10]) || !digit(b[11]) || (b[12] != ' ' && b[12] != '\r' && b[12] != '\n') || b[9] == '0' {
		return 0, "the answer has no valid HTTP status"
	}
	return int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0'), ""
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// readHead takes a head and returns where the body is to be read: r.buf, or a
// larger buffer on top of it.
func (r *reader) readHead() (*bufio.Reader, error) {
	err := r.head.Read(r.buf)
	if err == nil {
		return r.buf, nil
	}
	if _, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err); !ok {
		return nil, err
	}
	large := bufio.NewReaderSize(r.buf, largeHead)
	return large, r.head.Read(large)
}

// finish completes the reply whose head was read.
func (r *reader) finish(c *conn, from *bufio.Reader) {
	status := r.reply.status
	r.reply.retryAfter = r.head.Peek(fasthttp.HeaderRetryAfter)
	ok := status/100 == 2
	length := r.head.ContentLength()
	if status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified {
		length = 0
	}
	reusable := !r.head.ConnectionClose() && !closes(r.head.Peek(fasthttp.HeaderConnection)) &&
		length > -2 && length <= maxBody
	if ok && !reusable {
		return
	}
	limit := maxBody
	if !reusable {
		limit = maxWords
	}
	complete := r.readBody(c, from, length, limit)
	r.reply.clean = reusable && complete && from.Buffered() == 0 && r.buf.Buffered() == 0
	if len(r.head.ContentEncoding()) > 0 {
		r.reply.words = nil // never decompressed
	}
}

// readBody reads a body of the given length (as fasthttp has it: -1 chunked, -2 up
// to the end of the connection) up to limit and reports whether that was all. It
// keeps the words of a failure.
func (r *reader) readBody(c *conn, from *bufio.Reader, length, limit int) bool {
	out := &r.reply
	if length > from.Buffered() || length < 0 {
		if soon := time.Now().Add(bodyTime); soon.Before(c.deadline) && c.SetReadDeadline(soon) != nil {
			return false
		}
	}
	r.exact = io.LimitedReader{R: from, N: int64(length)}
	var body io.Reader = &r.exact
	switch length {
	case -1:
		body = httputil.NewChunkedReader(from)
	case -2:
		body = from
	}
	failed := out.status/100 != 2
	for total := 0; total < limit; {
		into := r.waste[:]
		if failed && len(out.words) < maxWords {
			into = r.words[len(out.words):]
		}
		n, err := body.Read(into)
		if failed && len(out.words) < maxWords {
			out.words = r.words[:len(out.words)+n]
		}
		total += n
		switch {
		case err == nil:
		case err == io.EOF && length == -1:
			return endsChunks(from)
		default:
			out.more = err != io.EOF || r.exact.N > 0
			return r.exact.N == 0
		}
	}
	out.more = true
	return r.exact.N == 0
}

// endsChunks takes the empty line after the last chunk. Trailers count as no end:
// they are not worth reading.
func endsChunks(from *bufio.Reader) bool {
	end, err := from.Peek(2)
	if err != nil || string(end) != "\r\n" {
		return false
	}
	_, err = from.Discard(2)
	return err == nil
}

// closes reports whether a Connection header asks for the end of the connection
// (RFC 9112, section 9.6), in whatever case and company.
func closes(header []byte) bool {
	for option := range bytes.SplitSeq(header, []byte(",")) {
		if bytes.EqualFold(bytes.TrimSpace(option), []byte("close")) {
			return true
		}
	}
	return false
}
