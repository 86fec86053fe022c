package feeds

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Direct makes the listener's connections answer plain requests for feeds beneath
// the server, with finished bytes: one read, one look, one write. A request is plain
// if it is a GET of a feed that comes alone and whole, and says nothing that bears on
// where it ends or what becomes of the connection. With the first that isn't, a
// connection is the server's for good. The server's timeouts and buffer bound both;
// the server must be given its listener by this.
func Direct(l net.Listener, s *Shelf, server *fasthttp.Server) net.Listener {
	d := &direct{Listener: l, shelf: s, request: server.ReadTimeout, idle: server.IdleTimeout, write: server.WriteTimeout,
		open: make(map[*directConn]struct{})}
	if d.idle == 0 {
		d.idle = server.ReadTimeout
	}
	return d
}

type direct struct {
	net.Listener
	shelf *Shelf
	// The bounds: of a request that has begun, of the time between two, of a write.
	request, idle, write time.Duration

	mu   sync.Mutex
	open map[*directConn]struct{}
}

// Accept implements net.Listener.
func (d *direct) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	out := &directConn{Conn: c, by: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[out] = struct{}{}
	return out, nil
}

// Close implements net.Listener. It ends the connections that wait for another
// request, which the server doesn't know of; answers under way are finished.
func (d *direct) Close() error {
	err := d.Listener.Close()
	d.mu.Lock()
	var idle []*directConn
	for c := range d.open {
		if c.ends() {
			idle = append(idle, c)
		}
	}
	d.mu.Unlock()
	for _, c := range idle {
		_ = c.end() // its client has all it asked for
	}
	return err
}

// stage is how far a connection is.
type stage = int32

const (
	fresh     stage = iota // nothing was answered yet; as far as the server knows, it is new
	waiting                // for another request
	answering              // an answer is being written
	ending                 // it is, and the connection ends with it
	ended                  // it is closed, or about to be
	handed                 // it is the server's
)

// directConn is a connection that answers what it can itself. Its goroutine, which is
// the server's, owns all but stage.
type directConn struct {
	net.Conn
	by    *direct
	stage atomic.Int32
	// The deadlines that are set. They are moved only when they have come some way:
	// that costs as much as a small system call.
	readBy, writeBy time.Time
}

// Read implements net.Conn. What it returns is the server's to answer.
func (c *directConn) Read(p []byte) (int, error) {
	for c.stage.Load() != handed {
		n, err := c.Conn.Read(p)
		if err != nil {
			if c.stage.Load() != fresh {
				return n, io.EOF // the server would tell a client who has its answer that it sent nothing
			}
			return n, err
		}
		whole := c.by.shelf.direct(p[:n])
		if whole == nil {
			return n, c.hand()
		}
		if !c.reply(whole) {
			return 0, io.EOF
		}
	}
	return c.Conn.Read(p)
}

// hand leaves the connection to the server, with the time that it allows a request.
func (c *directConn) hand() error {
	before := c.stage.Load()
	if before == ended || !c.stage.CompareAndSwap(before, handed) {
		return net.ErrClosed
	}
	if before == fresh {
		return nil
	}
	return c.SetReadDeadline(deadline(time.Now(), c.by.request))
}

// reply writes an answer and reports whether there may be another.
func (c *directConn) reply(whole []byte) bool {
	before := c.stage.Load()
	if before == ended || !c.stage.CompareAndSwap(before, answering) {
		return false
	}
	now := time.Now()
	err := extend(c.writeBy, now, c.by.write, c.SetWriteDeadline)
	if err == nil {
		_, err = c.Conn.Write(whole)
	}
	if err == nil {
		err = extend(c.readBy, now, c.by.idle, c.SetReadDeadline)
	}
	if !c.stage.CompareAndSwap(answering, waiting) { // its end was asked for meanwhile
		_ = c.end()
		return false
	}
	return err == nil
}

// extend moves a deadline that has come nearer than seven eighths of the limit.
func extend(by, now time.Time, limit time.Duration, set func(time.Time) error) error {
	if left := by.Sub(now); limit > 0 && limit-limit/8 <= left && left <= limit {
		return nil
	}
	return set(deadline(now, limit))
}

// deadline returns when a limit that begins now ends; 0 is none.
func deadline(now time.Time, limit time.Duration) time.Time {
	if limit == 0 {
		return time.Time{}
	}
	return now.Add(limit)
}

// SetReadDeadline implements net.Conn.
func (c *directConn) SetReadDeadline(t time.Time) error {
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *directConn) SetWriteDeadline(t time.Time) error {
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *directConn) SetDeadline(t time.Time) error {
	c.readBy, c.writeBy = t, t
	return c.Conn.SetDeadline(t)
}

// ends says whether a connection that the server doesn't know to be idle is to be
// closed now. One that is answering ends by itself.
func (c *directConn) ends() bool {
	c.stage.CompareAndSwap(answering, ending)
	return c.stage.CompareAndSwap(waiting, ended)
}

// Close implements net.Conn. An answer under way is finished first, by its goroutine.
func (c *directConn) Close() error {
	for {
		switch at := c.stage.Load(); {
		case at == ending, at == answering && c.stage.CompareAndSwap(at, ending):
			return nil
		case at != answering && c.stage.CompareAndSwap(at, ended):
			return c.end()
		}
	}
}

func (c *directConn) end() error {
	c.stage.Store(ended)
	c.by.mu.Lock()
	delete(c.by.open, c)
	c.by.mu.Unlock()
	return c.Conn.Close()
}

// direct returns the finished answer to a plain request, nil to any other.
func (s *Shelf) direct(p []byte) []byte {
	r, ok := plain(p)
	if !ok {
		return nil
	}
	a := s.answer(&r)
	if a.document == nil {
		return nil
	}
	return a.whole(time.Now())
}

// plain reads a plain request. It refuses whatever a server might understand
// otherwise: what bears on framing must mean the same to both.
func plain(p []byte) (r request, ok bool) {
	const (
		begin = "GET " + Prefix
		proto = " HTTP/1.1\r\n"
	)
	line := bytes.IndexByte(p, '\n') + 1
	if line < len(begin)+len(proto) || string(p[:len(begin)]) != begin || string(p[line-len(proto):line]) != proto ||
		!bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		return r, false
	}
	r.method = p[:3]
	r.path = p[4 : line-len(proto)]
	if bytes.ContainsAny(r.path, " ?#%\\\r\t") || bytes.IndexByte(r.path, 0) >= 0 {
		return r, false
	}
	var host []byte
	for rest := p[line:]; ; {
		end := bytes.IndexByte(rest, '\r')
		if rest[end+1] != '\n' { // there is one after it: p ends so
			return r, false
		}
		if end == 0 {
			return r, len(rest) == 2 && usualHost(host)
		}
		name, value, ok := field(rest[:end])
		if !ok || !r.take(name, value, &host) {
			return r, false
		}
		rest = rest[end+2:]
	}
}

// field reads a header field (RFC 9112, section 5), nothing out of the ordinary.
func field(line []byte) (name, value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, nil, false
	}
	for _, b := range line[:colon] {
		if !tokenByte(b) {
			return nil, nil, false
		}
	}
	for _, b := range line[colon+1:] {
		if b < ' ' && b != '\t' || b == 0x7F {
			return nil, nil, false
		}
	}
	return line[:colon], bytes.Trim(line[colon+1:], " \t"), true
}

// usualHost says whether a Host is a name or an IPv4 address, with or without a port.
func usualHost(host []byte) bool {
	name, port, _ := bytes.Cut(host, []byte(":"))
	for _, b := range name {
		if !tokenByte(b) && b != '.' {
			return false
		}
	}
	for _, b := range port {
		if b < '0' || b > '9' {
			return false
		}
	}
	return len(name) > 0 && len(port) <= 5
}

// tokenByte says whether b is a letter, a digit or a hyphen.
func tokenByte(b byte) bool {
	letter := b | 0x20
	return letter >= 'a' && letter <= 'z' || b >= '0' && b <= '9' || b == '-'
}

// take notes what an answer depends on, once each, and reports whether the request is
// still a plain one.
func (r *request) take(name, value []byte, host *[]byte) bool {
	var into *[]byte
	switch len(name) {
	case len("Host"):
		if bytes.EqualFold(name, []byte("Host")) {
			into = host
		}
	case len("Expect"):
		return !bytes.EqualFold(name, []byte("Expect"))
	case len("Upgrade"):
		return !bytes.EqualFold(name, []byte("Upgrade")) && !bytes.EqualFold(name, []byte("Trailer"))
	case len("Connection"):
		return !bytes.EqualFold(name, []byte("Connection")) || bytes.EqualFold(value, []byte("keep-alive"))
	case len("If-None-Match"):
		if bytes.EqualFold(name, []byte("If-None-Match")) {
			into = &r.ifNoneMatch
		}
	case len("Content-Length"):
		return !bytes.EqualFold(name, []byte("Content-Length"))
	case len("Accept-Encoding"):
		if bytes.EqualFold(name, []byte("Accept-Encoding")) {
			into = &r.acceptEncoding
		}
	case len("If-Modified-Since"):
		if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			return false
		}
		if bytes.EqualFold(name, []byte("If-Modified-Since")) {
			into = &r.ifModifiedSince
		}
	}
	if into == nil {
		return true
	}
	if len(*into) > 0 || len(value) == 0 {
		return false
	}
	*into = value
	return true
}
