package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Feeds reads feeds over HTTP as their subscribers do, again and again, and notes
// when each update became visible in each of them. Its receipts have the feed's
// number, from 1, as Target, the entry's id as ID, and Status 200. One goroutine uses
// it at a time.
type Feeds struct {
	client   *http.Client
	feeds    []*feedSeen
	failures failures
}

// feedSeen is one feed as far as it was read.
type feedSeen struct {
	number int
	url    string
	etag   string
	seen   map[Delivery]struct{}
}

const (
	// feedReaders bounds the requests at once.
	feedReaders = 8
	// feedPatience bounds one of them.
	feedPatience = 10 * time.Second
)

// NewFeeds returns a reader of the feeds at these URLs. Their formats are told by
// their media types.
func NewFeeds(urls []string) *Feeds {
	f := &Feeds{client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: feedReaders, IdleConnTimeout: feedPatience},
		Timeout:       feedPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for i, url := range urls {
		f.feeds = append(f.feeds, &feedSeen{number: i + 1, url: url, seen: make(map[Delivery]struct{})})
	}
	return f
}

// Close ends the connections.
func (f *Feeds) Close() { f.client.CloseIdleConnections() }

// Invalid counts, by reason, what no subscriber should have seen, such as a feed
// that forgets an update. A feed that isn't there yet, or a server that can't be
// reached, is none of it: it shows in what is missing.
func (f *Feeds) Invalid() map[string]int { return f.failures.copy() }

// Poll reads every feed once and returns a receipt for each update that was not
// there before, of a feed in the order of their sequence.
func (f *Feeds) Poll(ctx context.Context) []Receipt {
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
	var all []Receipt
	for _, receipts := range found {
		all = append(all, receipts...)
	}
	return all
}

// Run polls until ctx ends and hands each receipt to take.
func (f *Feeds) Run(ctx context.Context, every time.Duration, take func(Receipt)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, r := range f.Poll(ctx) {
			take(r)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
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
	now := make(map[Delivery]struct{}, len(entries))
	newest := make(map[string]int)
	for _, e := range entries {
		d := Delivery{s.number, e.incident, e.sequence}
		if _, twice := now[d]; twice {
			fault = errors.New("a feed has an update twice")
		}
		if last, ok := newest[e.incident]; ok && e.sequence > last {
			fault = errors.New("a feed is not newest first")
		}
		newest[e.incident] = e.sequence
		now[d] = struct{}{}
		if _, known := s.seen[d]; !known {
			s.seen[d] = struct{}{}
			fresh = append([]Receipt{{Target: s.number, ID: fmt.Sprintf("feed-%d %s", s.number, e.id), Incident: e.incident,
				Sequence: e.sequence, Status: http.StatusOK, ReceivedAt: at, AnsweredAt: at}}, fresh...)
		}
	}
	for d := range s.seen {
		if _, there := now[d]; !there && len(entries) < maxEntries {
			fault = errors.New("a feed forgot an update")
		}
	}
	return fresh, fault
}
