package feeds

import (
	"bytes"
	"net/http"
)

// request is what an answer depends on. Absent headers are empty.
type request struct {
	method, path                                 []byte
	acceptEncoding, ifNoneMatch, ifModifiedSince []byte
}

// answer is what to say: a status and, for 200 and 304, a document and the
// representation chosen of it.
type answer struct {
	status     int
	document   *document
	of         *representation
	compressed bool
}

// answer decides as RFC 9110 says. It doesn't allocate but for a date that isn't
// one of ours.
func (s *Shelf) answer(r *request) answer {
	d := s.find(r.path)
	if d == nil {
		return answer{status: http.StatusNotFound}
	}
	if string(r.method) != http.MethodGet && string(r.method) != http.MethodHead {
		return answer{status: http.StatusMethodNotAllowed}
	}
	a := answer{status: http.StatusOK, document: d, of: d.plain}
	if acceptsGzip(r.acceptEncoding) {
		a.of, a.compressed = d.gzip, true
	}
	// Section 13.2.2: If-Modified-Since counts only without If-None-Match.
	if len(r.ifNoneMatch) > 0 {
		if listed(r.ifNoneMatch, a.of.etag) {
			a.status = http.StatusNotModified
		}
	} else if len(r.ifModifiedSince) > 0 && d.unmodifiedSince(r.ifModifiedSince) {
		a.status = http.StatusNotModified
	}
	return a
}

// unmodifiedSince evaluates If-Modified-Since (RFC 9110, section 13.1.3).
func (d *document) unmodifiedSince(date []byte) bool {
	if bytes.Equal(date, d.modified) {
		return !d.again
	}
	t, err := http.ParseTime(string(date))
	return err == nil && t.After(d.changed) || err == nil && t.Equal(d.changed) && !d.again
}

// listed evaluates If-None-Match (RFC 9110, section 13.1.2) with the weak comparison.
// What follows a fault in the list doesn't count.
func listed(list, etag []byte) bool {
	for {
		list = bytes.TrimLeft(list, " \t,")
		if len(list) > 0 && list[0] == '*' {
			return true
		}
		list = bytes.TrimPrefix(list, []byte("W/"))
		if len(list) == 0 || list[0] != '"' {
			return false
		}
		end := bytes.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if bytes.Equal(list[:end+2], etag) {
			return true
		}
		list = list[end+2:]
	}
}

// acceptsGzip evaluates Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(header []byte) bool {
	others := false
	for len(header) > 0 {
		var item []byte
		item, header, _ = bytes.Cut(header, []byte(","))
		coding, parameters, _ := bytes.Cut(item, []byte(";"))
		coding = bytes.TrimSpace(coding)
		switch {
		case bytes.EqualFold(coding, []byte("gzip")), bytes.EqualFold(coding, []byte("x-gzip")):
			return wanted(parameters)
		case string(coding) == "*":
			others = wanted(parameters)
		}
	}
	return others
}

// wanted says whether the quality among the parameters is there and 0, which means
// "not this one", or anything else.
func wanted(parameters []byte) bool {
	name, value, found := bytes.Cut(bytes.TrimSpace(parameters), []byte("="))
	if !found || !bytes.EqualFold(bytes.TrimSpace(name), []byte("q")) {
		return true
	}
	return bytes.ContainsAny(value, "123456789")
}

// What is said where there is no document.
const (
	notFound   = "There is no feed here.\n"
	notAllowed = "Feeds can only be read: use GET or HEAD.\n"
	allowed    = "GET, HEAD"
)
