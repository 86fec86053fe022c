package caller

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf is a memory that outlives guards.
type shelf struct {
	mu    sync.Mutex
	kept  map[fingerprint]mark
	err   error
	waits chan struct{} // RememberTaken waits until it is closed, if there is one
}

type mark struct {
	source string
	at     time.Time
}

func (s *shelf) RememberTaken(ctx context.Context, source string, at time.Time, print [16]byte, old time.Time) error {
	if s.waits != nil {
		select {
		case <-s.waits:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.kept == nil {
		s.kept = make(map[fingerprint]mark)
	}
	for f, m := range s.kept {
		if m.at.Before(old) {
			delete(s.kept, f)
		}
	}
	s.kept[print] = mark{source, at}
	return nil
}

func (s *shelf) Taken(_ context.Context, since time.Time, each func(source string, at time.Time, print [16]byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, m := range s.kept {
		if !m.at.Before(since) {
			each(m.source, m.at, f)
			each(m.source, m.at, f)
		}
	}
	return s.err
}

// restarted is a gate that has begun anew, with what the memory knows.
func restarted(t *testing.T, s *shelf, now time.Time, sources ...Source) *gate {
	t.Helper()
	g := newGate(t, sources...)
	g.now, g.opt.Memory = now, s
	if err := g.Recall(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestReplaysOverRestarts has requests come again to another process, as long as their
// time lets them in.
func TestReplaysOverRestarts(t *testing.T) {
	memory := &shelf{}
	other := signed
	other.Name = "other"
	g := restarted(t, memory, start, signed)
	early, late := grafana(start.Add(-MaxSkew), "{}"), grafana(start.Add(MaxSkew), "{}")
	g.wants("grafana", early, 202)
	g.wants("grafana", late, 200)
	g.wants("grafana", grafana(start, "[]"), 503) // comes again
	again := func(at time.Time, body string) request { return grafana(at, body) }

	g = restarted(t, memory, start, signed)
	g.refuses(ErrRefused, again(start.Add(-MaxSkew), "{}"))
	g.refuses(ErrRefused, again(start.Add(MaxSkew), "{}"))
	g.wants("grafana", again(start, "[]"), 202)

	// With another key as well, and after the first is gone.
	changed := signed
	changed.Signature.Secrets = []string{"hush-new-key-0123456789", key}
	g = restarted(t, memory, start.Add(time.Minute), changed)
	g.refuses(ErrRefused, again(start, "[]"))

	// A source of another name has not taken it.
	restarted(t, memory, start, other).wants("other", again(start, "[]"), 503)

	// As long as it would be let in, and no longer.
	g = restarted(t, memory, start.Add(2*MaxSkew), signed)
	g.refuses(ErrRefused, again(start.Add(MaxSkew), "{}"))
	if n := g.taken["grafana"].count; n != 1 {
		t.Errorf("%d requests are remembered, want the one that could come again", n)
	}
}

// TestAnswersDontWaitForTheMemory, nor does it matter that the sender is gone: what the
// intake has is answered, and the log says what a restart would forget.
func TestAnswersDontWaitForTheMemory(t *testing.T) {
	memory := &shelf{err: errors.New("the disk is full")}
	g := newGate(t, signed)
	g.opt.Memory = memory
	g.wants("grafana", grafana(start, "{}"), 202)
	g.refuses(ErrRefused, grafana(start, "{}"))
	if log := g.log.String(); !strings.Contains(log, "known until a restart only") || !strings.Contains(log, "the disk is full") {
		t.Errorf("the log is %s", log)
	}
	memory.err = nil
	a, err := g.admit(grafana(start, "[]"))
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	a.Answered(gone, 202)
	if len(memory.kept) != 1 {
		t.Error("a request whose sender went away is not remembered")
	}
	memory.err = errors.New("broken")
	if err := g.Recall(t.Context()); !errors.Is(err, memory.err) {
		t.Errorf("a memory that can't be read: %v", err)
	}
}

// TestAReplayDuringTheAnswer: until the memory has it, the request is under way.
func TestAReplayDuringTheAnswer(t *testing.T) {
	memory := &shelf{waits: make(chan struct{})}
	g := newGate(t, signed)
	g.opt.Memory = memory
	a, err := g.admit(grafana(start, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		a.Answered(t.Context(), 202)
	}()
	g.refuses(ErrLater, grafana(start, "{}"))
	close(memory.waits)
	<-answered
	g.refuses(ErrRefused, grafana(start, "{}"))
}

// TestUnsignedAreNotRemembered: who signs no time costs the memory nothing.
func TestUnsignedAreNotRemembered(t *testing.T) {
	memory := &shelf{err: errors.New("is asked")}
	g := newGate(t, bearer)
	g.opt.Memory = memory
	g.wants("prom", post("{}", "Authorization", "Bearer "+token), 202)
	if g.log.Len() > 0 {
		t.Errorf("the log is %s", &g.log)
	}
}
