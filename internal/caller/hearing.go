package caller

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// hearing is what becomes of one request, and why it is not from one source or
// another.
type hearing struct {
	*Guard
	request *http.Request
	sources []*source
	peer    netip.Addr
	reasons map[*source]string
}

// attempt is a source that a request is from if its signature says so.
type attempt struct {
	*source
	claim claim
	why   string // it isn't anyway
}

// byHeader returns the source that the header alone shows, or those whose signature
// is to be checked.
func (h *hearing) byHeader(now time.Time) (*Admission, []attempt) {
	var signed []attempt
	for _, s := range h.sources {
		if !s.near(h.peer) {
			h.reasons[s] = "the address is in none of the networks"
			continue
		}
		why := s.knows(h.request, now)
		if s.signature == nil {
			if why == "" {
				return &Admission{Source: s.name}, nil
			}
			h.reasons[s] = why
			continue
		}
		c, malformed := s.signature.claim(h.request.Header)
		if malformed == "" && !c.at.IsZero() && !fresh(c.at, now) {
			malformed = "the time is too far from this clock's"
		}
		if malformed != "" {
			h.reasons[s] = malformed
			continue
		}
		signed = append(signed, attempt{s, c, why})
	}
	return nil, signed
}

// byBody returns the source that signed the body, nil if none did.
func (h *hearing) byBody(signed []attempt, body []byte, now time.Time) (*Admission, error) {
	for i := range signed {
		a := &signed[i]
		admitted, why := a.judge(h.Guard, body, now)
		h.reasons[a.source] = why
		if why != wrong {
			h.sources = []*source{a.source} // it is this one, let in or not
		}
		switch why {
		case "":
			return admitted, nil
		case busy:
			return nil, ErrLater
		case full:
			h.line(h.request, a.name, "more requests were signed within a few minutes than can be remembered")
			return nil, ErrLater
		case replayed:
			return nil, nil // else another source with the same secret would take it
		}
	}
	return nil, nil
}

const wrong = "the signature is wrong"

// judge checks the signature of a request whose body is known, and says why it isn't
// let in.
func (a *attempt) judge(g *Guard, body []byte, now time.Time) (admitted *Admission, why string) {
	at := a.claim.at
	switch {
	case !a.signature.holds(&a.claim, body):
		return nil, wrong
	case a.why != "":
		return nil, a.why
	case at.IsZero():
		return &Admission{Source: a.name}, ""
	case !fresh(at, now):
		return nil, "the body came too late for the time that is signed"
	}
	print := a.claim.print(body)
	if v := a.taken.begin(print, at, now); v != first {
		return nil, v
	}
	end := func(ctx context.Context, success bool) {
		if success {
			g.keep(ctx, a.name, print, at)
		}
		a.taken.end(print, at, success)
	}
	return &Admission{Source: a.name, answered: end}, ""
}

// refuse counts and logs the request under the source that it meant to be, as far as
// that can be said.
func (h *hearing) refuse() {
	h.refusals.add(h.peer, h.opt.Clock())
	meant := narrow(h.sources, func(s *source) bool { return s.near(h.peer) })
	meant = narrow(meant, func(s *source) bool { return s.shows(h.request) })
	if len(meant) > 1 {
		h.tell(h.request, Several, "none of several sources knows it")
		return
	}
	why := h.reasons[meant[0]]
	if why == "" {
		why = "too many of this address were refused"
	}
	h.tell(h.request, meant[0].name, why)
}

// narrow returns those that fit, or all if none does.
func narrow(all []*source, fits func(*source) bool) []*source {
	var some []*source
	for _, s := range all {
		if fits(s) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return all
	}
	return some
}
