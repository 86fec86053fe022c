package feeds

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// wholes are the finished answers that have a representation, as of one second each:
// the Date changes.
type wholes struct{ found, unmodified atomic.Pointer[dated] }

// dated is a finished answer of one second, since 1970.
type dated struct {
	second int64
	bytes  []byte
}

// whole returns a 200 or 304 as it goes over the wire, which nobody may change.
func (a *answer) whole(now time.Time) []byte {
	kept := &a.of.wholes.found
	if a.status == http.StatusNotModified {
		kept = &a.of.wholes.unmodified
	}
	second := now.Unix()
	if w := kept.Load(); w != nil && w.second == second {
		return w.bytes
	}
	w := &dated{second, a.write(now)}
	kept.Store(w)
	return w.bytes
}

func (a *answer) write(now time.Time) []byte {
	const head = 512
	d := a.document
	b := make([]byte, 0, head+len(a.of.body))
	line := func(name string, value []byte) {
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	if a.status == http.StatusNotModified {
		b = append(b, "HTTP/1.1 304 Not Modified\r\nDate: "...)
	} else {
		b = append(b, "HTTP/1.1 200 OK\r\nDate: "...)
	}
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\nVary: Accept-Encoding\r\n"...)
	line("Etag", a.of.etag)
	line("Cache-Control", d.cacheControl)
	line("Last-Modified", d.modified)
	if d.private {
		b = append(b, "X-Robots-Tag: noindex\r\n"...)
	} else {
		b = append(b, "Access-Control-Allow-Origin: *\r\n"...)
	}
	if a.status == http.StatusNotModified {
		return append(b, "\r\n"...)
	}
	line("Content-Type", d.contentType)
	if a.compressed {
		b = append(b, "Content-Encoding: gzip\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(a.of.body)), 10)
	return append(append(b, "\r\n\r\n"...), a.of.body...)
}
