package feeds

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func (s *Shelf) current(name string) *document {
	return (*s.feeds.Load())[name].edition.Load().documents[Atom]
}

func TestLastModified(t *testing.T) {
	s := NewShelf()
	knows := func(date time.Time) bool {
		a := s.answer(&request{method: []byte("GET"), path: []byte("/feeds/a.atom"), ifModifiedSince: []byte(date.Format("Mon, 02 Jan 2006 15:04:05 GMT"))})
		return a.status == 304
	}
	first := content("one", noon.Add(time.Hour))
	first.NewsAt = noon.Add(300 * time.Millisecond)
	s.Publish("a", first)
	if got := s.current("a").changed; !got.Equal(noon) {
		t.Errorf("the first edition is of %v, want the date of its news", got)
	}
	if !knows(noon) {
		t.Error("who has it from an earlier process gets it again")
	}
	// The same content keeps its date and its bytes.
	before := s.current("a")
	again := content("one", noon.Add(time.Minute))
	s.Publish("a", again)
	if s.current("a") != before {
		t.Error("the same content became another document")
	}
	// Another content in the same second: who knows the second may know the wrong one.
	s.Publish("a", content("two", noon.Add(900*time.Millisecond)))
	if knows(noon) {
		t.Error("a client that has the first content of this second is told that nothing changed")
	}
	if !knows(noon.Add(time.Second)) {
		t.Error("a client of the next second gets the same again")
	}
	// A later one is clear again; a clock set back doesn't set the date back.
	s.Publish("a", content("three", noon.Add(time.Minute)))
	if !knows(noon.Add(time.Minute)) || knows(noon) {
		t.Error("a later edition is not told from the earlier one")
	}
	s.Publish("a", content("four", noon))
	if got := s.current("a").changed; !got.Equal(noon.Add(time.Minute)) || knows(noon.Add(time.Minute)) {
		t.Errorf("after the clock was set back, the edition is of %v", got)
	}
}

func TestPrivacyChanges(t *testing.T) {
	s := NewShelf()
	c := content("one", noon)
	s.Publish("a", c)
	c.Private = true
	s.Publish("a", c)
	if d := s.current("a"); string(d.cacheControl) != "private, max-age=60" {
		t.Errorf("the same content, private now: %s", d.cacheControl)
	}
}

func TestShelf(t *testing.T) {
	s := NewShelf()
	s.Remove("nothing")
	s.Publish("a", content("a", noon))
	s.Publish("b", content("b", noon))
	s.Remove("a")
	if s.find([]byte("/feeds/a.rss")) != nil || s.find([]byte("/feeds/b.rss")) == nil {
		t.Error("the wrong feed was removed")
	}
}

// TestEditionsSwapWhole reads while editions change: every answer is whole, and no
// feed goes back to an older edition.
func TestEditionsSwapWhole(t *testing.T) {
	s := NewShelf()
	word := func(n int) string { return fmt.Sprintf("%04d", n) }
	s.Publish("a", content(word(0), noon))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			last := ""
			for {
				select {
				case <-done:
					return
				default:
				}
				a := s.answer(&request{method: []byte("GET"), path: []byte("/feeds/a.rss")})
				first := string(a.of.body[:4])
				if want := content(first, noon).Bodies[RSS]; string(a.of.body) != string(want) || first < last {
					t.Errorf("after %s came %s", last, first)
					return
				}
				last = first
			}
		})
	}
	for n := range 50 {
		s.Publish("a", content(word(n+1), noon))
	}
	close(done)
	readers.Wait()
}
