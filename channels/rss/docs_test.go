package rss

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

func TestDocumentedResults(t *testing.T) {
	var made []channels.Result
	u := update(2)
	directory, err := feeds.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := &memory{targets: []*incident.Target{target(1, "default")}}
	k := newKit(t, store, directory)
	send := func(ctx context.Context) { made = append(made, k.Send(ctx, message("default", u))) }

	send(t.Context()) // its update is not in the store: as if the filter left it out
	store.add(u)
	send(t.Context())
	store.hook(func(context.Context) error { return errors.New("down") })
	send(t.Context())
	store.hook(func(context.Context) error { panic("texts") })
	send(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	store.hook(func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() })
	k.config.Patience = time.Second // the rounds after it are in time
	send(ctx)
	send(ctx)
	store.hook(nil)
	store.set()
	send(t.Context())
	private := target(1, "default")
	private.Visibility = incident.Private
	store.set(private)
	send(t.Context())
	store.set(target(1, "default"))
	if err := directory.Close(); err != nil {
		t.Fatal(err)
	}
	store.add(update(3))
	send(t.Context())
	made = append(made, (&round{more: true, oldest: u.AcceptedAt.Add(time.Hour)}).judge(u))
	channeltest.ReadDocs(t, "## Feeds").Results(t, made)
}

func TestDocumentedLimits(t *testing.T) {
	config := Defaults("1")
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	channeltest.ReadDocs(t, "## Feeds").Match(t, "limit", map[string]string{
		"entries of a feed":                         fmt.Sprint(config.Entries),
		"their texts together":                      fmt.Sprintf("%d KiB", maxText>>10),
		"components that an entry names":            fmt.Sprint(maxNamed),
		"one publication, with its wait for others": seconds(config.Patience),
		"publications at once":                      fmt.Sprint(roundsAtOnce),
		"how often feeds are looked for that were added, changed or removed": seconds(config.Every),
		"name of a private feed": fmt.Sprintf("%d characters, %d of them different, or more", privateName, privateLetters),
	})
}

func TestDocumentedEntry(t *testing.T) {
	atom := string(documents(t, target(1, "default"), []*channels.Update{update(2)})[feeds.Atom])
	if example := channeltest.ReadDocs(t, "## Feeds").Example(t); !strings.HasPrefix(example, "<entry>") || !strings.Contains(atom, example) {
		t.Errorf("docs/channels.md has another entry than is published; that is\n%s", atom)
	}
}
