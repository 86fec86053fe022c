package peer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/rss"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// oneFeed is a store with one feed for the tests' channel.
type oneFeed struct {
	target  *incident.Target
	updates []*channels.Update
}

func (s *oneFeed) FeedTargets(context.Context) ([]*incident.Target, error) {
	return []*incident.Target{s.target}, nil
}

func (s *oneFeed) Feed(context.Context, string, string, int) (*incident.Target, []*channels.Update, bool, error) {
	return s.target, s.updates, false, nil
}

func readFeeds(t *testing.T, urls ...string) *Feeds {
	t.Helper()
	f, err := NewFeeds(urls, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestFeedsReadsChannel has the reader follow what the channel publishes, in each
// format, and the judge compare it with a ledger.
func TestFeedsReadsChannel(t *testing.T) {
	target := &incident.Target{ID: 1, Channel: incident.ChannelRSS, Address: "default"}
	if err := target.Validate(); err != nil {
		t.Fatal(err)
	}
	store, shelf := &oneFeed{target: target}, feeds.NewShelf()
	server := httptest.NewServer(shelf)
	defer server.Close()
	config := rss.Defaults("1")
	config.Base, config.Log = server.URL, slog.New(slog.DiscardHandler)
	c, err := rss.New(config, store, shelf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reader := readFeeds(t, server.URL+"/feeds/default.atom", server.URL+"/feeds/default.rss", server.URL+"/feeds/default.json")
	if got := reader.Poll(t.Context()); len(got) != 0 {
		t.Fatalf("%d receipts before anything is published", len(got))
	}
	var judge Judge
	begun := time.Now()
	for s := 1; s <= 3; s++ {
		u := &channels.Update{Page: "default", IncidentID: "INC/1 ä", Sequence: s, Status: incident.Identified, Impact: incident.ImpactMajor,
			UpdatedAt: begun, AcceptedAt: begun}
		store.updates = append([]*channels.Update{u}, store.updates...)
		if got := c.Send(t.Context(), &channels.Message{Address: "default", Update: u}); got.Class != channels.Delivered {
			t.Fatalf("got %+v", got)
		}
		receipts := reader.Poll(t.Context())
		if len(receipts) != 3 {
			t.Fatalf("sequence %d: %d receipts, want one of each feed", s, len(receipts))
		}
		for _, r := range receipts {
			if r.Sequence != s || r.Incident != "INC/1 ä" || !r.Accepted() || r.AnsweredAt.Before(begun) {
				t.Errorf("receipt %+v", r)
			}
			if _, err := r.MarshalText(); err != nil {
				t.Error(err)
			}
			judge.Receive(r)
			judge.Row(Delivery{r.Target, r.Incident, r.Sequence}, "delivered")
		}
		if again := reader.Poll(t.Context()); len(again) != 0 {
			t.Errorf("%d receipts of what was seen before", len(again))
		}
	}
	if v := judge.Verdict(); !v.Sound() || v.Delivered != 9 {
		t.Errorf("verdict %+v", v)
	}
	if r := reader.Report(); len(r.Invalid) != 0 || r.Delivered != 9 || !r.Sound() {
		t.Errorf("report %+v, %v", r.Verdict, r.Invalid)
	}
}

// page answers with one JSON feed of these entries after the other, the last for ever.
func page(t *testing.T, bodies ...string) *httptest.Server {
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/feed+json")
		w.Header().Set("Etag", fmt.Sprintf("%q", fmt.Sprint(n)))
		io.WriteString(w, bodies[min(n, len(bodies)-1)])
		n++
	}))
	t.Cleanup(server.Close)
	return server
}

func jsonFeed(entries ...string) string {
	for i, e := range entries {
		entries[i] = fmt.Sprintf(`{"id":"tag:a,2026:incident/default/%s"}`, e)
	}
	return `{"version":"https://jsonfeed.org/version/1.1","items":[` + strings.Join(entries, ",") + `]}`
}

// TestFeedsFindsFaults shows that the reader can fail.
func TestFeedsFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		bodies []string
		want   string
	}{
		"in order":          {[]string{jsonFeed("INC-1/1"), jsonFeed("INC-2/1", "INC-1/2", "INC-1/1")}, ""},
		"forgets":           {[]string{jsonFeed("INC-1/2", "INC-1/1"), jsonFeed("INC-1/2")}, "forgot"},
		"oldest first":      {[]string{jsonFeed("INC-1/1", "INC-1/2")}, "newest first"},
		"an id of nothing":  {[]string{jsonFeed("INC-1")}, "names no update"},
		"sequence 0":        {[]string{jsonFeed("INC-1/0")}, "names no update"},
		"not a feed at all": {[]string{`{}`}, "no JSON Feed"},
	} {
		t.Run(name, func(t *testing.T) {
			reader := readFeeds(t, page(t, c.bodies...).URL)
			for range c.bodies {
				reader.Poll(t.Context())
			}
			found := fmt.Sprint(reader.Report().Invalid)
			if c.want == "" && found != "map[]" || !strings.Contains(found, c.want) {
				t.Errorf("found %s, want %q", found, c.want)
			}
		})
	}
}

// What shows up too late, twice or under another id is for the judge. The faults are
// in the first two documents; the last shows that each counts once.
func TestFeedsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		bodies []string
		want   Verdict
	}{
		"in order": {[]string{jsonFeed("INC-1/1"), jsonFeed("INC-1/2", "INC-1/1")}, Verdict{}},
		"an older one after a newer one": {
			[]string{jsonFeed("INC-1/2"), jsonFeed("INC-1/2", "INC-1/1")}, Verdict{OrderViolations: 1}},
		"twice": {
			[]string{jsonFeed("INC-1/1", "INC-1/1"), jsonFeed("INC-1/1", "INC-1/1")}, Verdict{Duplicates: 1}},
		"twice, later": {
			[]string{jsonFeed("INC-1/1"), jsonFeed("INC-1/1", "INC-1/1")}, Verdict{Duplicates: 1}},
		"under another id": {
			[]string{jsonFeed("INC-1/1"), strings.ReplaceAll(jsonFeed("INC-1/1"), "tag:a", "tag:b")}, Verdict{Duplicates: 1, IDFaults: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			reader := readFeeds(t, page(t, append(c.bodies, c.bodies[1])...).URL)
			for range 3 {
				reader.Poll(t.Context())
			}
			if got := reader.Report(); !slices.Equal(faults(*got.Verdict), faults(c.want)) {
				t.Errorf("got %+v, want %+v", got.Verdict, c.want)
			}
		})
	}
}

// The control reads before it answers, whatever the servers do, and its answer
// begins where the one before ended.
func TestFeedsControl(t *testing.T) {
	server := page(t, jsonFeed("INC-1/1"), jsonFeed("INC-1/2", "INC-1/1"))
	reader := readFeeds(t, server.URL, "http://127.0.0.1:1/nobody")
	control := httptest.NewServer(reader.Control())
	defer control.Close()
	from := ""
	for s := 1; s <= 2; s++ {
		response, err := http.Get(control.URL + "/receipts?from=" + from)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		err = ReadReceipts(response.Body, func(r Receipt) { got = append(got, r.Sequence) })
		response.Body.Close()
		if err != nil || !slices.Equal(got, []int{s}) || response.Header.Get(OpenHeader) != "0" {
			t.Errorf("answer %d has the sequences %v, %v", s, got, err)
		}
		from = response.Header.Get(NextHeader)
	}
}

func FuzzReadFeed(f *testing.F) {
	f.Add("application/feed+json", jsonFeed("INC-1/1"))
	f.Add("application/atom+xml; charset=utf-8", `<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>tag:a:incident/p/I/1</id></entry></feed>`)
	f.Add("application/rss+xml", `<rss><channel><item><guid>tag:a:incident/p/I%2F/1</guid></item></channel></rss>`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		entries, err := readFeed(contentType, strings.NewReader(body))
		for _, e := range entries {
			if err != nil || e.incident == "" || e.sequence < 1 || strings.ContainsAny(e.id+e.incident, "\t\n") {
				t.Fatalf("%+v, %v", e, err)
			}
		}
	})
}
