package caller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// ErrRefused is that a request is from none of the sources of its route. The answer
// is 401, and no word on why.
var ErrRefused = errors.New("the caller is not let in")

// ErrLater is that a request can't be judged now: too many from its address were
// refused, one like it is under way, or no more can be remembered. The answer is 503:
// senders try again after that, and give up on 429.
var ErrLater = errors.New("the caller can't be let in now")

// Options describe a [Guard].
type Options struct {
	// Sources have unique names.
	Sources []Source
	// Refused counts a request that was not let in: by the name of a source, or as
	// [Tokens] or [Several]; nil counts none. It does not block.
	Refused func(source string)
	// Memory keeps what was taken over restarts; nil keeps nothing.
	Memory Memory
	// Log has a line for each refusal, 10 a minute at most; nil discards them.
	Log *slog.Logger
	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
}

// Guard lets the sources of each route in. It is safe for concurrent use.
type Guard struct {
	opt      Options
	routes   map[string][]*source
	taken    map[string]*taken // of sources that sign, by their names
	refusals *refusals
}

// New returns a guard, or says which source can't be.
func New(opt Options) (*Guard, error) {
	if opt.Refused == nil {
		opt.Refused = func(string) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	g := &Guard{opt: opt, routes: make(map[string][]*source), taken: make(map[string]*taken), refusals: newRefusals()}
	named := make(map[string]bool)
	for _, s := range opt.Sources {
		if named[s.Name] {
			return nil, fmt.Errorf("two sources are named %s", s.Name)
		}
		named[s.Name] = true
		made, err := newSource(s)
		if err != nil {
			return nil, err
		}
		if made.taken != nil {
			g.taken[made.name] = made.taken
		}
		for _, route := range s.Routes {
			g.routes[route] = append(g.routes[route], made)
		}
	}
	return g, nil
}

// Guards says whether a route has sources.
func (g *Guard) Guards(route string) bool { return len(g.routes[route]) > 0 }

// Admission is a request that was let in. Answered is to be called once: before the
// answer begins, so that nobody has one to a request that isn't remembered, or when it
// is certain that there will be none.
type Admission struct {
	// Source is who sent it.
	Source string

	answered func(ctx context.Context, success bool)
}

// Answered says with which status the request is answered, 0 if with none. Only those
// that are answered with success are not taken again. It waits until that is durable,
// within reason; whether ctx ends makes no difference.
func (a *Admission) Answered(ctx context.Context, status int) {
	if a.answered != nil {
		a.answered(ctx, status >= 200 && status < 300)
	}
}

// Admit finds the source of a request of that route, or returns [ErrRefused] or
// [ErrLater]. It calls read, which bounds the body in size and time, once at most and
// only where a signature is to be checked; read's error is returned as it is. What
// other parts said is looked at after that: how long an answer takes tells nothing of
// them.
func (g *Guard) Admit(route string, r *http.Request, read func() ([]byte, error)) (*Admission, error) {
	h := &hearing{Guard: g, request: r, sources: g.routes[route], peer: addressOf(r), reasons: make(map[*source]string)}
	admitted, signed := h.byHeader(g.opt.Clock())
	if admitted != nil {
		return admitted, nil
	}
	if g.refusals.tooMany(h.peer, g.opt.Clock()) {
		clear(h.reasons)
		h.refuse()
		return nil, ErrLater
	}
	if len(signed) > 0 {
		body, err := read()
		if err != nil {
			return nil, err
		}
		if admitted, err = h.byBody(signed, body, g.opt.Clock()); admitted != nil || err != nil {
			return admitted, err
		}
	}
	h.refuse()
	return nil, ErrRefused
}

// RefuseToken counts and logs a request without one of the control API's tokens. It
// costs next to nothing, so its peer may be refused as often as it likes.
func (g *Guard) RefuseToken(r *http.Request) {
	g.tell(r, Tokens, "the token is missing or wrong")
}

// tell counts a refusal, and logs it if it is one of few.
func (g *Guard) tell(r *http.Request, source, why string) {
	g.opt.Refused(source)
	g.line(r, source, why)
}

func (g *Guard) line(r *http.Request, source, why string) {
	if say, unsaid := g.refusals.line(g.opt.Clock()); say {
		g.opt.Log.Warn("a caller was refused", "source", source, "route", r.Pattern, "peer", addressOf(r), "reason", why, "unsaid", unsaid)
	}
}

// addressOf is the address that the connection comes from; what a proxy says of
// others is not believed.
func addressOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}
