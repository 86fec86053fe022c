package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Feeds reads feeds over HTTP as their subscribers do, again and again, and notes
// when each update became visible in each of them. Its receipts have the feed's
// number, from 1, as Target, the feed and the entry's id as ID, and Status 200; one
// that comes again within a document, or under another id, has another receipt.
// Nothing is read before somebody asks: see [Feeds.Poll] and [Feeds.Control].
type Feeds struct {
	book
	client *http.Client

	mu     sync.Mutex // held while the feeds are read
	closed bool
	feeds  []*feedSeen
}

// feedSeen is one feed as far as it was read.
type feedSeen struct {
	number int
	url    string
	etag   string
	seen   map[feedEntry]int // how often in one document, at most
}

const (
	// feedReaders bounds the requests at once.
	feedReaders = 8
	// feedPatience bounds one of them.
	feedPatience = 10 * time.Second
)

// NewFeeds returns a reader of the feeds at these URLs. Their formats are told by
// their media types. receipts is as in [Options]. The caller must Close it.
func NewFeeds(urls []string, receipts string) (*Feeds, error) {
	f := &Feeds{client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: feedReaders, IdleConnTimeout: feedPatience},
		Timeout:       feedPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var err error
	if f.log, err = newReceiptLog(receipts); err != nil {
		return nil, fmt.Errorf("feed peer: %w", err)
	}
	for i, url := range urls {
		f.feeds = append(f.feeds, &feedSeen{number: i + 1, url: url, seen: make(map[feedEntry]int)})
	}
	return f, nil
}

// Close waits for who reads, ends the connections and returns what went wrong with
// the receipts file, if anything. From then on nothing is read.
func (f *Feeds) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.client.CloseIdleConnections()
	return f.log.close()
}

// Control answers as that of a [Webhook] does, but reads every feed first: what was
// visible before the request is in the answer.
//
// A report counts as invalid, by reason, what no subscriber should have seen, such as
// a feed that forgets an update. A feed that isn't there yet, or a server that can't
// be reached, is none of it: it shows in what is missing.
func (f *Feeds) Control() http.Handler {
	control := f.book.Control()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		f.Poll(r.Context())
		control.ServeHTTP(rw, r)
	})
}

// Poll reads every feed once and returns a receipt for each update that was not
// there before, of a feed in the order of their sequence.
func (f *Feeds) Poll(ctx context.Context) []Receipt {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	found := make([][]Receipt, len(f.feeds))
	next := make(chan int)
	var readers sync.WaitGroup
	for range min(feedReaders, len(f.feeds)) {
		readers.Go(func() {
			for i := range next {
				receipts, err := f.read(ctx, f.feeds[i])
				if err != nil {
					f.failures.note(err)
				}
				found[i] = receipts
			}
		})
	}
	for i := range f.feeds {
		next <- i
	}
	close(next)
	readers.Wait()
	all := slices.Concat(found...)
	var line []byte
	for _, r := range all {
		line = f.record(r, line)
	}
	return all
}

// read reads one feed, if it changed. The error says what is wrong with it.
func (f *Feeds) read(ctx context.Context, feed *feedSeen) ([]Receipt, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, feed.url, nil)
	if err != nil {
		return nil, errors.New("a feed has no valid URL")
	}
	if feed.etag != "" {
		request.Header.Set("If-None-Match", feed.etag)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, nil // the server is not there, or not yet
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && feed.etag != "":
		return nil, nil
	case response.StatusCode == http.StatusNotFound && feed.etag == "":
		return nil, nil // not published yet
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("a feed is answered with status %d", response.StatusCode)
	}
	entries, err := readFeed(response.Header.Get("Content-Type"), response.Body)
	if err != nil {
		return nil, err
	}
	at := time.Now()
	feed.etag = response.Header.Get("Etag")
	if feed.etag == "" {
		err = errors.New("a feed has no ETag")
	}
	receipts, fault := feed.note(entries, at)
	return receipts, errors.Join(err, fault)
}

// note compares a feed with what it was before.
func (s *feedSeen) note(entries []feedEntry, at time.Time) (fresh []Receipt, fault error) {
	now := make(map[feedEntry]int, len(entries))
	newest := make(map[string]int)
	for _, e := range entries {
		if last, ok := newest[e.incident]; ok && e.sequence > last {
			fault = errors.New("a feed is not newest first")
		}
		newest[e.incident] = e.sequence
		if now[e]++; now[e] > s.seen[e] {
			s.seen[e] = now[e]
			fresh = append(fresh, Receipt{Target: s.number, ID: fmt.Sprintf("feed-%d %s", s.number, e.id), Incident: e.incident,
				Sequence: e.sequence, Status: http.StatusOK, ReceivedAt: at, AnsweredAt: at})
		}
	}
	for e := range s.seen {
		if now[e] == 0 && len(entries) < maxEntries {
			fault = errors.New("a feed forgot an update")
		}
	}
	slices.Reverse(fresh)
	return fresh, fault
}
