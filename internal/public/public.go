// Package public answers on the listener that anyone can reach: links by which
// people unsubscribe, and feeds.
//
// Promise: nothing but a POST to a link that we signed ends a subscription, and it
// does so at once, without a login, however old the link is (RFC 8058). To look at a
// link changes nothing. Who has no such link learns nothing here: not which targets
// there are, nor whether a link was ever good.
//
// Words: a link is a URL with a token; a token names one target and carries a tag,
// which only a holder of the key can make; a guest is a client, known by its network.
package public

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/internal/feeds"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/ratelimit"
)

const (
	linkPrefix = "/u/"

	// maxBody is far above what a mail provider or the page's button sends.
	maxBody = 4 << 10

	// storeTimeout is how long a guest waits for the store.
	storeTimeout = 5 * time.Second
	// retryAfter is when a guest should ask again if the store failed, in seconds.
	retryAfter = "30"
)

// usualLimit leaves room for a mail provider that unsubscribes many people from few
// addresses, and for a reverse proxy, which is one guest.
var usualLimit = ratelimit.Limit{PerSecond: 50, Burst: 500}

// Options are what a handler needs.
type Options struct {
	// Feeds answers below /feeds/. Without it, nil, nothing is there.
	Feeds fasthttp.RequestHandler
	// Describe says what a link would end. An error that wraps store.ErrNotFound
	// means that there is no such target (any more).
	Describe func(ctx context.Context, target int64) (Subscription, error)
	// Unsubscribe ends a subscription, durably when it returns; ending it again is
	// no error. store.ErrNotFound as with Describe.
	Unsubscribe func(ctx context.Context, target int64) error
	// Key signs links and has at least 32 bytes. Links signed with one of Old are
	// good as well: keep a retired key there for as long as its mails are about.
	Key []byte
	Old [][]byte
	// BaseURL is where the listener is reached from outside, an absolute http or
	// https URL, with a path if a proxy adds one. Mail providers unsubscribe people
	// by https alone.
	BaseURL string
	// Limit is how many requests to links a guest may make; zero for 50/s, burst
	// 500. A guest is an IPv4 address or an IPv6 /64.
	Limit ratelimit.Limit
	Clock func() time.Time
	Log   *slog.Logger
}

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	Options
	base     string
	signer   signer
	guests   *guests
	template *template.Template
	policy   string // Content-Security-Policy of the pages
}

// New checks the options and returns the handler.
func New(o Options) (*Handler, error) {
	if o.Describe == nil || o.Unsubscribe == nil || o.Clock == nil || o.Log == nil {
		return nil, errors.New("public listener: Describe, Unsubscribe, Clock and Log must be set")
	}
	for _, key := range append([][]byte{o.Key}, o.Old...) {
		if len(key) < keyBytes {
			return nil, fmt.Errorf("public listener: a key has %d bytes; it must have at least %d random ones", len(key), keyBytes)
		}
	}
	if o.Limit == (ratelimit.Limit{}) {
		o.Limit = usualLimit
	}
	if !o.Limit.Valid() {
		return nil, errors.New("public listener: the limit of requests must be above 0")
	}
	base, err := checkBase(o.BaseURL)
	if err != nil {
		return nil, err
	}
	page, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("public listener: %w", err)
	}
	return &Handler{Options: o, base: base, signer: signer{key: o.Key, old: o.Old},
		guests: newGuests(o.Limit), template: page, policy: contentPolicy()}, nil
}

func checkBase(text string) (string, error) {
	const refusal = "public listener: its URL must be absolute, with http or https and a host, without user, query and fragment"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(text, "#<>\" ") {
		return "", errors.New(refusal)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Link returns the URL by which a target unsubscribes. It is good until the target is
// deleted or the key is gone, and always the same.
func (h *Handler) Link(target int64) string {
	return h.base + linkPrefix + h.signer.sign(target)
}

// Serve answers a request.
func (h *Handler) Serve(ctx *fasthttp.RequestCtx) {
	defer h.contain(ctx)
	switch path := pathOf(ctx); {
	case h.Feeds != nil && bytes.HasPrefix(path, []byte(feeds.Prefix)):
		h.Feeds(ctx)
	case bytes.HasPrefix(path, []byte(linkPrefix)):
		h.link(ctx, path[len(linkPrefix):])
	default:
		h.answer(ctx, http.StatusNotFound, nothingHere)
	}
}

// contain turns a panic into a 500: the server would let it end the whole engine.
func (h *Handler) contain(ctx *fasthttp.RequestCtx) {
	cause := recover()
	if cause == nil {
		return
	}
	// The stack says where. Any other cause may hold what a guest sent.
	fault, _ := cause.(runtime.Error)
	h.Log.Error("a request to the public listener panicked; this is a defect, please report it",
		"error", fault, "stack", string(debug.Stack()))
	ctx.Response.Reset()
	h.answer(ctx, http.StatusInternalServerError, failed)
}

// pathOf returns the path as it came, without the query: no path of ours needs to be
// decoded or cleaned, so what does is none of ours.
func pathOf(ctx *fasthttp.RequestCtx) []byte {
	uri := ctx.Request.Header.RequestURI()
	if len(uri) > 0 && uri[0] != '/' { // a whole one (RFC 9112, section 3.2.2)
		return ctx.URI().PathOriginal()
	}
	path, _, _ := bytes.Cut(uri, []byte("?"))
	return path
}

// link answers a request to a link. Whatever is wrong with a token, the answer is the
// same and comes by the same way, up to the store: that is asked for our own tokens
// only, so that others can't keep it busy.
func (h *Handler) link(ctx *fasthttp.RequestCtx, token []byte) {
	if ok, wait := h.guests.admit(network(ctx.RemoteIP()), h.Clock()); !ok {
		ctx.Response.Header.Set("Retry-After", seconds(wait))
		h.answer(ctx, http.StatusTooManyRequests, tooMany)
		return
	}
	post := ctx.IsPost()
	if !post && !ctx.IsGet() && !ctx.IsHead() {
		ctx.Response.Header.Set("Allow", "GET, HEAD, POST")
		h.answer(ctx, http.StatusMethodNotAllowed, notAllowed)
		return
	}
	target, ok := h.signer.read(token)
	if !ok {
		h.answer(ctx, http.StatusNotFound, nothingHere)
		return
	}
	if post {
		if status, said := oneClick(ctx); !said {
			h.answer(ctx, status, notSaid)
			return
		}
	}
	s, err := h.subscription(target, post)
	switch {
	case errors.Is(err, store.ErrNotFound):
		h.answer(ctx, http.StatusNotFound, nothingHere)
	case err != nil:
		h.Log.Warn("an unsubscribe link could not be answered: the store failed", "target", target, "error", err)
		ctx.Response.Header.Set("Retry-After", retryAfter)
		h.answer(ctx, http.StatusServiceUnavailable, unavailable)
	case s.Ended:
		h.answer(ctx, http.StatusOK, ended(s))
	default:
		h.answer(ctx, http.StatusOK, question(s))
	}
}

// subscription describes what a link stands for, and ends it if that was asked. It
// goes on when the guest leaves or the server stops: both would rather have it done.
func (h *Handler) subscription(target int64, end bool) (Subscription, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	s, err := h.Describe(ctx, target)
	if err != nil || !end {
		return s, err
	}
	s.Ended = true
	return s, h.Unsubscribe(ctx, target)
}

// NewServer returns [feeds.NewServer] for this handler; listeners should be ones of
// [feeds.Limit] and [feeds.Direct] as well.
func NewServer(handler *Handler, log *slog.Logger) *fasthttp.Server {
	s := feeds.NewServer(handler.Serve, log)
	// The server would parse forms of its own accord, and for any path.
	s.DisablePreParseMultipartForm = true
	return s
}
