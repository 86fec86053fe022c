package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/caller"
)

// answerTimeout bounds a request from its header to the end of its answer; an
// import renews it, and so does each event of the live page's stream.
const answerTimeout = time.Minute

// safe bounds request and answer in time and turns a panic into a 500, so that one
// request can't take the engine with it.
func (g *gateway) safe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not every ResponseWriter knows deadlines; the server's does.
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
		if r.ContentLength != 0 {
			// Also for a body that nobody reads: the server drains it.
			_ = control.SetReadDeadline(time.Now().Add(g.opt.BodyTimeout))
			entered, leave := g.bodies.enter(r)
			defer leave()
			r = entered
		}
		tracked := &trackedWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			// The stack says where. Any other cause may hold what a client sent.
			fault, _ := cause.(runtime.Error)
			g.Log.Error("a request panicked; this is a defect, please report it",
				"method", r.Method, "route", r.Pattern, "error", fault, "stack", string(debug.Stack()))
			if tracked.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			clear(w.Header())
			writeProblem(w, refuse(http.StatusInternalServerError, "something failed here; the log has the details"))
		}()
		next.ServeHTTP(tracked, r)
	})
}

// trackedWriter knows the status of the answer, 0 until it has begun.
type trackedWriter struct {
	http.ResponseWriter
	status int
	// begins is called before the answer is, once; nil for nobody.
	begins func(status int)
}

func (t *trackedWriter) WriteHeader(status int) {
	t.begin(status)
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	t.begin(http.StatusOK)
	return t.ResponseWriter.Write(p)
}

func (t *trackedWriter) begin(status int) {
	if t.status != 0 {
		return
	}
	t.status = status
	if t.begins != nil {
		t.begins(status)
	}
}

// Unwrap is for http.ResponseController.
func (t *trackedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// fromHere keeps web pages out: a browser on this machine reaches a loopback
// listener on behalf of any page it shows. Requests that other sites cause are
// refused by what the browser says of them, and, since without a token the
// network is the only lock, names that a stranger's DNS may point here (DNS
// rebinding) by the Host header.
func (g *gateway) fromHere(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	return g.answer(func(w http.ResponseWriter, r *http.Request) error {
		if len(g.opt.Tokens) == 0 && !isOurs(r.Host, g.opt.Listen) {
			return refuse(http.StatusForbidden, "without tokens this listener answers only to loopback names, such as localhost")
		}
		if sameOrigin.Check(r) != nil {
			return refuse(http.StatusForbidden, "requests caused by other web sites are refused")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// isOurs says whether a Host header names this machine as itself, or the listen
// address.
func isOurs(host, listen string) bool {
	name := hostOf(host)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	if address, err := netip.ParseAddr(name); err == nil && address.Unmap().IsLoopback() {
		return true
	}
	own := hostOf(listen)
	return own != "" && strings.EqualFold(name, own)
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// auth holds the digests of the tokens: equal in length, so that comparing takes
// the same time whatever was sent.
type auth [][sha256.Size]byte

func newAuth(tokens []string) auth {
	a := make(auth, len(tokens))
	for i, token := range tokens {
		a[i] = sha256.Sum256([]byte(token))
	}
	return a
}

// allows compares with every token, and returns the number of the one that
// matches, from 1, or 0.
func (a auth) allows(header string) int {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return 0
	}
	sent := sha256.Sum256([]byte(strings.TrimSpace(token)))
	match := 0
	for i, own := range a {
		match = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(own[:], sent[:]), i+1, match)
	}
	return match
}

// authorised lets in who has a token, and, where the route has sources, those. The
// others learn nothing of what they lack.
func (g *gateway) authorised(a auth, in intake, next http.Handler) http.Handler {
	return g.answer(func(w http.ResponseWriter, r *http.Request) error {
		sourced := g.Callers.Guards(in.of(r))
		fromSource := sourced && r.Method == http.MethodPost
		if token := a.allows(r.Header.Get("Authorization")); token != 0 {
			next.ServeHTTP(w, calledBy(r, "token "+strconv.Itoa(token)))
			return nil
		}
		if fromSource {
			return g.admit(in, next, w, r)
		}
		if len(a) == 0 {
			next.ServeHTTP(w, r)
			return nil
		}
		g.Callers.RefuseToken(r)
		return unauthorised(w, "send one of the configured tokens as Authorization: Bearer …")
	})
}

func unauthorised(w http.ResponseWriter, detail string) error {
	w.Header().Set("WWW-Authenticate", `Bearer realm="tocsin"`)
	return refuse(http.StatusUnauthorized, detail)
}

// admit has a source's request handled. Only one that is answered with success isn't
// taken again: after anything else the sender may send the same once more.
func (g *gateway) admit(in intake, next http.Handler, w http.ResponseWriter, r *http.Request) error {
	if in.key != nil {
		body, err := g.drain(w, r, in.limit)
		if err != nil {
			return err
		}
		r = caller.WithKey(r, in.key(body))
	}
	admitted, err := g.Callers.Admit(in.of(r), r, func() ([]byte, error) { return g.drain(w, r, in.limit) })
	switch {
	case errors.Is(err, caller.ErrRefused):
		return unauthorised(w, "nobody who may send here is known by this; the log says more")
	case errors.Is(err, caller.ErrLater):
		return refuse(http.StatusServiceUnavailable, "this can't be taken now; send it again later")
	case err != nil:
		return err
	}
	tracked := &trackedWriter{ResponseWriter: w, begins: func(status int) { admitted.Answered(r.Context(), status) }}
	defer func() {
		if tracked.status == 0 {
			admitted.Answered(r.Context(), 0)
		}
	}()
	next.ServeHTTP(tracked, calledBy(r, "source "+admitted.Source))
	return nil
}

func calledBy(r *http.Request, name string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, name))
}

// callerKey is the context's key of who sent a request.
type callerKey struct{}

// callerOf names who sent a request, for the history: "token 2" for the second of
// the configured tokens, "source NAME" for one that needs none, "local" where nothing
// is asked for.
func callerOf(r *http.Request) string { return callerIn(r.Context()) }

// callerIn is callerOf by the request's context.
func callerIn(ctx context.Context) string {
	if name, ok := ctx.Value(callerKey{}).(string); ok {
		return name
	}
	return "local"
}

// sourceOf names the source that sent a request, "" if it was none.
func sourceOf(r *http.Request) string {
	if name, ok := strings.CutPrefix(callerOf(r), "source "); ok {
		return name
	}
	return ""
}
