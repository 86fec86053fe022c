package feeds

import (
	"bytes"
	"log/slog"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// Serve answers a request below [Prefix] without allocating.
func (s *Shelf) Serve(ctx *fasthttp.RequestCtx) {
	in, out := &ctx.Request.Header, &ctx.Response.Header
	a := s.answer(&request{
		method: in.Method(), path: pathOf(ctx), acceptEncoding: in.Peek("Accept-Encoding"),
		ifNoneMatch: in.Peek("If-None-Match"), ifModifiedSince: in.Peek("If-Modified-Since"),
	})
	ctx.Response.SetStatusCode(a.status)
	out.Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusNotFound:
		out.SetContentType("text/plain; charset=utf-8")
		ctx.Response.SetBodyString(notFound)
		return
	case http.StatusMethodNotAllowed:
		out.Set("Allow", allowed)
		out.SetContentType("text/plain; charset=utf-8")
		ctx.Response.SetBodyString(notAllowed)
		return
	}
	d := a.document
	out.SetBytesV("Etag", a.of.etag)
	out.SetBytesV("Cache-Control", d.cacheControl)
	out.SetBytesV("Last-Modified", d.modified)
	out.Set("Vary", "Accept-Encoding")
	if d.private {
		out.Set("X-Robots-Tag", "noindex")
	} else {
		out.Set("Access-Control-Allow-Origin", "*")
	}
	if a.status == http.StatusNotModified {
		return
	}
	out.SetContentTypeBytes(d.contentType)
	if a.compressed {
		out.SetContentEncoding("gzip")
	}
	ctx.Response.SetBodyRaw(a.of.body)
}

// pathOf returns the path as it came, without the query. URIs are parsed only where
// the request has a whole one (RFC 9112, section 3.2.2).
func pathOf(ctx *fasthttp.RequestCtx) []byte {
	uri := ctx.Request.Header.RequestURI()
	if len(uri) > 0 && uri[0] != '/' {
		return ctx.URI().PathOriginal()
	}
	if query := bytes.IndexByte(uri, '?'); query >= 0 {
		uri = uri[:query]
	}
	return uri
}

// NewServer returns a server for a listener that anyone can reach, which should be
// one of [Limit], and of [Direct] on that: a request has to come within 10 s and in
// 8 KiB, an answer to be taken within 30 s; of more than 4,096 connections at once the
// others get a 503. handler is [Shelf.Serve], or what leads to it.
func NewServer(handler fasthttp.RequestHandler, log *slog.Logger) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:            handler,
		ReadBufferSize:     8 << 10,
		WriteBufferSize:    32 << 10, // most feeds leave in one write
		MaxRequestBodySize: 64 << 10,
		ReadTimeout:        10 * time.Second,
		WriteTimeout:       30 * time.Second,
		IdleTimeout:        75 * time.Second,
		Concurrency:        4096,
		// MaxConnsPerIP stays off: its connections are closed by Shutdown while
		// they are read, which is a data race (v1.74.0).
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		CloseOnShutdown:       true,
		SecureErrorLogMessage: true,
		Logger:                slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
