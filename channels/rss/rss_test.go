package rss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

const private = "0123456789abcdef0123456789abcdef"

// TestSend holds each result to what a reader finds then.
func TestSend(t *testing.T) {
	hidden := update(3)
	hidden.Details = []byte(`{"on_call":"me"}`)
	minor := update(1)
	minor.Impact = incident.ImpactMinor
	short, reserved, major := target(1, "short"), target(1, "a.rss"), target(1, "default")
	short.Visibility, major.MinImpact = incident.Private, incident.ImpactMajor
	secret := target(1, private)
	secret.Visibility = incident.Private
	for _, c := range []struct {
		name    string
		target  *incident.Target
		updates []*channels.Update
		send    *channels.Update
		class   channels.Class
		shown   string
	}{
		{"the page's feed", target(1, "default"), []*channels.Update{update(1)}, update(1), channels.Delivered, "1"},
		{"a named feed", target(1, "eu"), []*channels.Update{update(2), update(1)}, update(2), channels.Delivered, "2 1"},
		{"an older update", target(1, "default"), []*channels.Update{update(2), update(1)}, update(1), channels.Delivered, "2 1"},
		{"a private feed", secret, []*channels.Update{hidden}, hidden, channels.Delivered, "3"},
		{"a private update, a public feed", target(1, "default"), []*channels.Update{hidden, update(1)}, hidden, channels.Permanent, "1"},
		{"a filter that changed", major, []*channels.Update{minor}, minor, channels.Permanent, ""},
		{"a private feed whose name can be guessed", short, []*channels.Update{hidden}, hidden, channels.Permanent, "none"},
		{"a name that files need", reserved, []*channels.Update{update(1)}, update(1), channels.Permanent, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, &memory{targets: []*incident.Target{c.target}, updates: c.updates}, nil)
			got := k.send(c.target.Address, c.send)
			k.equal("class", got.Class, c.class)
			if got.Detail == "" && got.Class != channels.Delivered || strings.Contains(got.Detail, c.target.Address) && c.target.Address == private {
				t.Errorf("detail %q", got.Detail)
			}
			path := "/feeds/default/" + c.target.Address + ".json"
			if c.target.Address == "default" {
				path = "/feeds/default.json"
			}
			k.equal("shown", k.shown(path), c.shown)
		})
	}
}

func TestSendWithoutFeed(t *testing.T) {
	k := newKit(t, &memory{updates: []*channels.Update{update(1)}}, nil)
	k.equal("class", k.send("default", update(1)).Class, channels.Permanent)
	k.equal("shown", k.shown("/feeds/default.json"), "none")
	k.Close() // waits
	k.equal("names remembered", len(k.feeds), 0)
}

// An update that newer ones have pushed out of the feed is told by being over.
func TestSendTooLate(t *testing.T) {
	store := &memory{targets: []*incident.Target{target(1, "default")}}
	k := newKit(t, store, nil)
	k.config.Entries = 3
	for n := range 5 {
		store.add(update(n + 1))
	}
	if got := k.send("default", update(1)); got.Class != channels.Delivered || got.Detail == "" {
		t.Errorf("got %+v", got)
	}
	k.equal("shown", k.shown("/feeds/default.json"), "5 4 3")
	k.equal("one that was never there", k.send("default", update(6)).Class, channels.Permanent)
}

// Equal names on two pages are two feeds, and a page's own feed is no other's.
func TestNamesOfPages(t *testing.T) {
	store := &memory{}
	k := newKit(t, store, nil)
	var all []*incident.Target
	for i, n := range []key{{"default", "eu"}, {"Shop", "eu"}, {"Shop", "shop"}, {"eu", "eu"}, {"default", "shop"}} {
		tt := target(int64(i+1), n.name)
		tt.Page = n.page
		all = append(all, tt)
		u := update(i + 1)
		u.Page = n.page
		store.add(u)
	}
	store.set(all...)
	if err := k.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"default/eu": "5 1", "default/shop": "5 1", "Shop/eu": "3 2", "Shop": "3 2", "eu": "4",
		"Shop/shop": "none", "shop": "none", "eu/eu": "none", "default": "none",
	} {
		k.equal(path, k.shown("/feeds/"+path+".json"), want)
	}
	ids := make(map[string]string)
	for _, path := range []string{"default/eu", "Shop/eu", "Shop", "eu", "default/shop"} {
		id := between(k.get("/feeds/"+path+".atom"), "<id>", "</id>")
		if other, twice := ids[id]; twice {
			t.Errorf("%s and %s have the id %s", path, other, id)
		}
		ids[id] = path
	}
}

func between(text []byte, from, to string) string {
	_, rest, _ := bytes.Cut(text, []byte(from))
	found, _, _ := bytes.Cut(rest, []byte(to))
	return string(found)
}

// TestCoalesce sends many updates while a round is held up: one more round serves
// them all.
func TestCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{targets: []*incident.Target{target(1, "default")}, updates: []*channels.Update{update(1)}}
		k := newKit(t, store, nil)
		release := make(chan struct{})
		store.hook(func(context.Context) error { <-release; return nil })
		var all sync.WaitGroup
		send := func(n int) {
			all.Go(func() {
				if got := k.send("default", update(n)); got.Class != channels.Delivered {
					t.Errorf("update %d: %+v", n, got)
				}
			})
			synctest.Wait()
		}
		send(1)
		for n := 2; n <= 40; n++ {
			store.add(update(n))
			send(n)
		}
		close(release)
		all.Wait()
		k.equal("rounds", store.asked, 2)
	})
}

// TestStoreDown serves what there was, and says why there is nothing newer.
func TestStoreDown(t *testing.T) {
	store := &memory{targets: []*incident.Target{target(1, "default")}, updates: []*channels.Update{update(1)}}
	directory, err := feeds.OpenDirectory(filepath.Join(t.TempDir(), "feeds"))
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	k := newKit(t, store, directory)
	if err := k.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := k.get("/feeds/default.atom")
	store.hook(func(context.Context) error {
		return errors.New("postgres://user:hunter2@db/default is down")
	})
	store.add(update(2))
	got := k.send("default", update(2))
	if got.Class != channels.Temporary || got.NoConnection || strings.Contains(got.Detail, "hunter2") || got.Detail == "" {
		t.Errorf("got %+v", got)
	}
	if k.Warm(t.Context()) == nil {
		t.Error("warming up without a store reports nothing")
	}
	if after := k.get("/feeds/default.atom"); len(after) == 0 || !bytes.Equal(before, after) {
		t.Error("the last good document is gone")
	}
	store.hook(nil)
	k.equal("after the store is back", k.send("default", update(2)).Class, channels.Delivered)
	k.equal("shown", k.shown("/feeds/default.json"), "2 1")
}

// A store that does not answer is given up after Patience, for all feeds at once.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		store.hook(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		k := newKit(t, store, nil)
		begun := time.Now()
		var all sync.WaitGroup
		for n := range 10 * roundsAtOnce {
			all.Go(func() { k.equal("class", k.send(fmt.Sprint("feed-", n), update(1)).Class, channels.Temporary) })
		}
		all.Wait()
		k.equal("after", time.Since(begun), k.config.Patience)
		// Nothing is left of feeds that were never there.
		store.hook(nil)
		if err := k.Warm(t.Context()); err != nil {
			t.Error(err)
		}
		k.Close()
		k.equal("feeds remembered", len(k.feeds), 0)
	})
}

// TestWarmMany has more feeds than rounds at once.
func TestWarmMany(t *testing.T) {
	store := &memory{updates: []*channels.Update{update(1)}}
	for n := range 10 * ahead {
		store.targets = append(store.targets, target(int64(n+1), fmt.Sprint("feed-", n)))
	}
	k := newKit(t, store, nil)
	if err := k.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range store.targets {
		k.equal(f.Address, k.shown("/feeds/default/"+f.Address+".json"), "1")
	}
}

func TestSendEnds(t *testing.T) {
	store := &memory{targets: []*incident.Target{target(1, "default")}, updates: []*channels.Update{update(1)}}
	k := newKit(t, store, nil)
	ctx, cancel := context.WithCancel(t.Context())
	store.hook(func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() })
	k.equal("while the store is asked", k.Send(ctx, message("default", update(1))).Class, channels.Temporary)
	k.equal("before anything", k.Send(ctx, message("default", update(1))).Class, channels.NotSent)
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	k.equal("after the end", k.send("default", update(1)).Class, channels.NotSent)
}

func TestPanicStaysInItsFeed(t *testing.T) {
	store := &memory{targets: []*incident.Target{target(1, "default")}, updates: []*channels.Update{update(1)}}
	k := newKit(t, store, nil)
	store.hook(func(context.Context) error { panic("oh") })
	k.equal("class", k.send("default", update(1)).Class, channels.Permanent)
	k.equal("feeds to try again", len(k.stale(store.targets)), 1)
	store.hook(nil)
	k.equal("class", k.send("default", update(1)).Class, channels.Delivered)
}

// TestFullDisk: readers over HTTP are not to notice that files can't be written.
func TestFullDisk(t *testing.T) {
	root := filepath.Join(t.TempDir(), "feeds")
	directory, err := feeds.OpenDirectory(root)
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	store := &memory{targets: []*incident.Target{target(1, "default")}, updates: []*channels.Update{update(1)}}
	k := newKit(t, store, directory)
	inTheWay := filepath.Join(root, "default.rss")
	if err := os.MkdirAll(filepath.Join(inTheWay, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := k.send("default", update(1))
	if got.Class != channels.Temporary || !strings.Contains(got.Detail, "directory") || strings.Contains(got.Detail, "default") {
		t.Errorf("got %+v; want a reason without the feed's name", got)
	}
	k.equal("shown over HTTP", k.shown("/feeds/default.json"), "1")
	os.RemoveAll(inTheWay)
	k.equal("after there is room", k.send("default", update(1)).Class, channels.Delivered)
	for _, name := range []string{"default.atom", "default.rss", "default.json", "default.rss.gz"} {
		if text, err := os.ReadFile(filepath.Join(root, name)); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A feed that is gone takes its files along.
	store.set()
	if err := k.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("%v, %v: want no files", left, err)
	}
}

// TestRun follows targets as they are added, changed and removed.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{updates: []*channels.Update{update(1)}}
		k := newKit(t, store, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.Channel.Run(ctx) })
		const path = "/feeds/default.json"
		soon := func(what, want string) {
			t.Helper()
			time.Sleep(k.config.Every)
			synctest.Wait()
			k.equal(what, k.shown(path), want)
		}
		soon("before there is a target", "none")
		first := target(1, "default")
		store.set(first)
		k.Changed()
		synctest.Wait()
		k.equal("added", k.shown(path), "1")
		critical := *first
		critical.MinImpact = incident.ImpactCritical
		store.set(&critical)
		soon("changed", "")
		store.set()
		soon("removed", "none")
		k.equal("feeds remembered", len(k.feeds), 0)
		store.hook(func(context.Context) error { return errors.New("down") })
		store.set(first)
		soon("without a store", "none")
		store.hook(nil)
		soon("with the store again", "1")
		asked := store.asked
		soon("unchanged", "1")
		k.equal("rounds without a change", store.asked, asked)
		cancel()
		running.Wait()
	})
}

func TestSecondTargetOfAName(t *testing.T) {
	web := target(1, "eu")
	web.Components = []string{"web"}
	store := &memory{targets: []*incident.Target{web, target(2, "eu")}, updates: []*channels.Update{update(1)}}
	k := newKit(t, store, nil)
	k.equal("what the first leaves out", k.send("eu", update(1)).Class, channels.Permanent)
	store.set(target(2, "eu"))
	k.equal("once it is the first", k.send("eu", update(1)).Class, channels.Delivered)
}

func TestConfig(t *testing.T) {
	for _, c := range []struct{ base, link string }{
		{"", ""}, {"status.example.com", ""}, {"ftp://status.example.com", ""}, {"https://", ""},
		{"https://a.example", "javascript:alert(1)"}, {"https://a.example", "https://u:p@a.example"},
	} {
		config := Defaults("1")
		config.Base, config.Link = c.base, c.link
		if _, err := New(config, &memory{}, feeds.NewShelf(), nil); err == nil {
			t.Errorf("base %q and link %q are taken", c.base, c.link)
		}
	}
}

func TestRenderRefusesFormats(t *testing.T) {
	k := newKit(t, &memory{}, nil)
	for format, ok := range map[string]bool{"": true, "tocsin": true, "slack": false} {
		if _, err := k.Render(update(1), channels.Variant{Format: format}); (err == nil) != ok {
			t.Errorf("format %q: %v", format, err)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for _, c := range []struct {
		name       string
		visibility incident.Visibility
		ok         bool
	}{
		{"eu", incident.Public, true}, {"eu-west_1.2", incident.Public, true}, {"eu.atom", incident.Public, false},
		{"eu.gz", incident.Public, false}, {".eu", incident.Public, false},
		{"eu", incident.Private, false}, {strings.Repeat("a", 40), incident.Private, false}, {private, incident.Private, true},
	} {
		f := target(1, c.name)
		f.Visibility = c.visibility
		if err := CheckTarget(f); (err == nil) != c.ok {
			t.Errorf("%s feed %s: %v", c.visibility, c.name, err)
		}
	}
	f := target(1, "eu")
	f.Page = "eu.json"
	if CheckTarget(f) == nil {
		t.Error("a page that is named like a file is taken")
	}
}

// BenchmarkDocuments is the rendering of a full feed in its three formats.
func BenchmarkDocuments(b *testing.B) {
	t := target(1, "default")
	var updates []*channels.Update
	for n := range 50 {
		updates = append(updates, update(50-n))
	}
	v := (&site{base: "https://status.example.com", authority: "status.example.com"}).view(key{t.Page, t.Address}, t, updates, start)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(v.atom()) + len(v.rss()) + len(v.json())))
	}
}

// BenchmarkRound is one update of one feed, store aside: what an update costs for
// each feed it is in.
func BenchmarkRound(b *testing.B) {
	store := &memory{targets: []*incident.Target{target(1, "default")}}
	for n := range 50 {
		u := update(n + 1)
		u.Message = strings.Repeat(fmt.Sprintf("Sentence %d of a message. ", n), 8)
		store.add(u)
	}
	config := Defaults("1")
	config.Base = "https://status.example.com"
	c, err := New(config, store, feeds.NewShelf(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		store.updates[0].Message = fmt.Sprint("The newest is another each time: ", n)
		if got := c.Send(b.Context(), message("default", store.updates[0])); got.Class != channels.Delivered {
			b.Fatal(got)
		}
	}
}
