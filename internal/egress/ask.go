package egress

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Question is a request for [Conn.Ask].
type Question interface {
	// Bytes is the whole of it.
	Bytes() []byte
	// Written is called once when it is written, or could not be. Its bytes are not
	// looked at any more: thousands of questions may wait for their answers.
	Written()
}

// ErrNotQuiet is the refusal of a connection that is not [Conn.Quiet].
var ErrNotQuiet = errors.New("the peer has closed the connection, or said something unasked")

// Ask writes a request and reads the first bytes of the answer, at least one if err is
// nil. whole says that the request was written whole: a peer may answer, and close,
// before it was.
func (c *Conn) Ask(q Question, answer []byte) (n int, whole bool, err error) {
	return c.ask(q, q.Bytes(), answer)
}

func (c *Conn) ask(q Question, request, answer []byte) (n int, whole bool, err error) {
	_, failed := c.Write(request)
	q.Written()
	if errors.Is(failed, os.ErrDeadlineExceeded) {
		return 0, false, failed
	}
	if n, err = c.Read(answer); n > 0 {
		return n, failed == nil, nil
	}
	if failed != nil {
		err = failed
	}
	return 0, failed == nil, err
}

// AskAgain is Ask for a connection that was idle. It returns [ErrNotQuiet], and has
// written nothing, if it can't be used again.
func (c *Conn) AskAgain(q Question, answer []byte) (n int, whole bool, err error) {
	if c.secure != nil || c.sys == nil {
		if !c.Quiet() {
			return 0, false, ErrNotQuiet
		}
		return c.Ask(q, answer)
	}
	a := &c.asking
	a.question, a.answer = q, answer
	err = c.sys.Read(c.step)
	n, stage, rest, failed := a.n, a.stage, a.rest, a.failed
	if err == nil {
		err = a.err
	}
	*a = asking{}
	switch {
	case stage == looking:
		return 0, false, ErrNotQuiet
	case stage == writing:
		return c.ask(q, rest, answer)
	case n > 0:
		return n, failed == nil, nil
	case failed != nil:
		err = failed
	case err == nil:
		err = io.EOF
	}
	return 0, failed == nil, err
}

// asking is the state of an AskAgain on a socket: it looks whether the connection is
// quiet, writes, and waits until there is something to read, within one turn of the
// socket's reader. Nothing can come unnoticed in between, so that it need not try to
// read what can't be there yet.
type asking struct {
	question Question
	answer   []byte
	first    [1]byte // what came unasked
	stage    stage
	rest     []byte // what the socket did not take at once
	n        int    // bytes of the answer
	failed   error  // of the write
	err      error  // of the read
}

type stage int

const (
	looking stage = iota
	writing
	reading
)

// goOn makes the steps that can be made now, and says whether that was all.
func (a *asking) goOn(fd int) (done bool) {
	if a.stage == looking {
		if _, err := syscall.Read(fd, a.first[:]); err != syscall.EAGAIN {
			return true
		}
		a.stage = writing
		request := a.question.Bytes()
		n, err := syscall.Write(fd, request)
		if err == syscall.EAGAIN || err == syscall.EINTR {
			n, err = 0, nil
		}
		if err == nil && n < len(request) {
			a.rest = request[n:]
			return true
		}
		a.stage, a.failed = reading, err
		a.question.Written()
		if err == nil {
			return false
		}
	}
	n, err := syscall.Read(fd, a.answer)
	for err == syscall.EINTR {
		n, err = syscall.Read(fd, a.answer)
	}
	if err == syscall.EAGAIN {
		return false
	}
	a.n, a.err = max(n, 0), err
	return true
}
