package feeds

import (
	"net/http"
	"strconv"
	"strings"
)

// ServeHTTP answers as [Shelf.Serve] does, for a listener of net/http.
func (s *Shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := func(name string) []byte { return []byte(strings.Join(r.Header.Values(name), ",")) }
	a := s.answer(&request{
		method: []byte(r.Method), path: []byte(r.URL.EscapedPath()), acceptEncoding: header("Accept-Encoding"),
		ifNoneMatch: header("If-None-Match"), ifModifiedSince: []byte(r.Header.Get("If-Modified-Since")),
	})
	out := w.Header()
	out.Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusNotFound:
		http.Error(w, strings.TrimSpace(notFound), a.status)
		return
	case http.StatusMethodNotAllowed:
		out.Set("Allow", allowed)
		http.Error(w, strings.TrimSpace(notAllowed), a.status)
		return
	}
	d := a.document
	out.Set("Etag", string(a.of.etag))
	out.Set("Cache-Control", string(d.cacheControl))
	out.Set("Last-Modified", string(d.modified))
	out.Set("Vary", "Accept-Encoding")
	if d.private {
		out.Set("X-Robots-Tag", "noindex")
	} else {
		out.Set("Access-Control-Allow-Origin", "*")
	}
	if a.status == http.StatusNotModified {
		w.WriteHeader(a.status)
		return
	}
	out.Set("Content-Type", string(d.contentType))
	if a.compressed {
		out.Set("Content-Encoding", "gzip")
	}
	out.Set("Content-Length", strconv.Itoa(len(a.of.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(a.of.body) // an error is the client's, who left
	}
}
