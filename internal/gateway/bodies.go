package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// smallBody is what each request may hold in memory; what is more is from the room
	// that all share.
	smallBody = 64 << 10
	// bodyRoom has a few of the largest bodies, or many of those that are usual.
	bodyRoom = 64 << 20
	// largeBody takes long to be understood, and many times its size: few are at once.
	largeBody = 256 << 10
	maxLarge  = 2
	// maxMiddling bounds those between the two: of every connection's at once they would
	// take gigabytes.
	maxMiddling = 8
)

// bodies bounds the memory of the bodies that are read, whoever sends them and however
// slowly: when there is no more room for one, the one that comes slowest gives up its
// own. A client that sends half a body and waits is in nobody's way.
type bodies struct {
	turns    chan struct{} // a token for each large body that is understood
	middling chan struct{} // and for each between small and large

	mu    sync.Mutex
	room  int // bytes
	taken int
	large map[*incoming]struct{} // those that have some of the room
}

func newBodies() *bodies {
	return &bodies{
		turns: make(chan struct{}, maxLarge), middling: make(chan struct{}, maxMiddling), room: bodyRoom, large: make(map[*incoming]struct{}),
	}
}

// errSlow and errNoRoom are that a body can't be read now.
var (
	errSlow   = refuse(http.StatusServiceUnavailable, "other bodies needed the memory that this one came too slowly for; send it again, faster or later")
	errNoRoom = refuse(http.StatusServiceUnavailable, "too many large bodies are being read; send this again later")
)

// incoming is a request's body: as it comes, or whole once all of it was read.
type incoming struct {
	io.ReadCloser // from the client
	of            *bodies
	content       []byte
	whole         bool
	turn          chan struct{} // that it has a token in; nil for none

	// These are the bodies', under their lock.
	taken int // of the room
	came  int // bytes
	begun time.Time
	cut   func() // ends the reading; nil once it has ended
	lost  bool   // it was cut
}

// enter makes a request's body one of them. leave is to be called when the request
// ends.
func (b *bodies) enter(r *http.Request) (entered *http.Request, leave func()) {
	in := &incoming{ReadCloser: r.Body, of: b}
	return withBody(r, in), in.leave
}

// withBody is r with another body. The server looks at the one of r to see how to end
// the connection.
func withBody(r *http.Request, body io.ReadCloser) *http.Request {
	other := *r
	other.Body = body
	return &other
}

func (in *incoming) leave() {
	if in.turn != nil {
		<-in.turn
	}
	in.of.mu.Lock()
	defer in.of.mu.Unlock()
	in.give()
}

// Read implements io.Reader. Whatever else ends a body early is its client's doing, and
// the text of such an error has addresses.
func (in *incoming) Read(p []byte) (int, error) {
	n, err := in.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// all reads the body, of at most limit bytes. One that isn't small waits for its turn
// to be understood, within the patience.
func (in *incoming) all(w http.ResponseWriter, r *http.Request, limit int64, patience time.Duration) ([]byte, error) {
	if in.whole {
		return in.content, nil
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than read it all
		return nil, &http.MaxBytesError{Limit: limit}
	}
	most := int(limit) + 1 // one more byte, to see the end
	if r.ContentLength >= 0 {
		most = int(r.ContentLength) + 1
	}
	if err := in.read(w, http.MaxBytesReader(w, in, limit), most); err != nil {
		return nil, err
	}
	in.whole = true
	turns := in.of.turns
	switch {
	case len(in.content) < smallBody:
		return in.content, nil
	case len(in.content) < largeBody:
		turns = in.of.middling
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	select {
	case turns <- struct{}{}:
		in.turn = turns
		return in.content, nil
	case <-ctx.Done():
		return nil, errNoRoom
	}
}

// read reads to the end, which comes before most bytes.
func (in *incoming) read(w http.ResponseWriter, body io.Reader, most int) error {
	control := http.NewResponseController(w)
	in.begin(func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }) // not every ResponseWriter knows deadlines; the server's does
	content := make([]byte, 0, min(most, smallBody))
	for {
		if len(content) == cap(content) {
			larger := min(max(2*cap(content), smallBody), most)
			if err := in.take(larger); err != nil {
				w.Header().Set("Connection", "close")
				return err
			}
			content = append(make([]byte, 0, larger), content...)
			in.keep(larger)
		}
		n, err := body.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		lost := in.arrived(n, err != nil)
		switch {
		case err == nil:
		case lost: // also if the end came meanwhile: the connection can't be read any more
			w.Header().Set("Connection", "close")
			return errSlow
		case errors.Is(err, io.EOF):
			in.content = content
			return nil
		default:
			return err
		}
	}
}

func (in *incoming) begin(cut func()) {
	in.of.mu.Lock()
	defer in.of.mu.Unlock()
	in.begun, in.cut = time.Now(), cut
}

// arrived counts what came, and says whether the body was cut.
func (in *incoming) arrived(n int, over bool) (lost bool) {
	in.of.mu.Lock()
	defer in.of.mu.Unlock()
	in.came += n
	if over {
		in.cut = nil
	}
	return in.lost
}

// take takes room for a body of that size, besides what it has.
func (in *incoming) take(size int) error {
	b, need := in.of, max(0, size-smallBody)
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.lost {
		return errSlow
	}
	now := time.Now()
	for b.taken+need > b.room {
		slowest := in
		for other := range b.large {
			if other.cut != nil && other.pace(now) < slowest.pace(now) {
				slowest = other
			}
		}
		if slowest == in {
			return errNoRoom
		}
		slowest.lost = true
		slowest.cut()
		slowest.give()
	}
	b.taken += need
	in.taken += need
	b.large[in] = struct{}{}
	return nil
}

// keep gives back all that it has but for that size.
func (in *incoming) keep(size int) {
	in.of.mu.Lock()
	defer in.of.mu.Unlock()
	if in.lost {
		return // with all it had
	}
	has := max(0, size-smallBody)
	in.of.taken -= in.taken - has
	in.taken = has
}

// give gives back all that it has. The bodies are locked.
func (in *incoming) give() {
	in.of.taken -= in.taken
	in.taken, in.cut = 0, nil
	delete(in.of.large, in)
}

// pace is how fast it comes, in bytes a second.
func (in *incoming) pace(now time.Time) float64 {
	return float64(in.came) / max(now.Sub(in.begun), time.Microsecond).Seconds()
}
