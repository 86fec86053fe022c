package rss

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmcdole/gofeed"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// story is a feed in German with what texts can hold.
func story() (*incident.Target, []*channels.Update) {
	t := target(7, "default")
	t.Locale = "de-AT"
	first, second, third := update(1), update(2), update(3)
	first.Title, first.Message = `<b>R&D</b> "down"`, "Ends a section: ]]>\n<script>alert(1)</script>\nA & B"
	first.Links = []incident.Link{
		{Rel: "self", URL: "https://status.example.com/i/1?a=1&b=2"}, {Title: `Post "mortem"`, URL: "https://blog.example.com/1"},
		{URL: "javascript:alert(1)"}, {Rel: "related", URL: "https://user:pw@phish.example.com/"}, {Rel: "related", URL: "https://x.example.com/ok"},
	}
	second.Title, second.Message = "", ""
	second.IncidentID, second.Sequence = "INC 2/ä?#", 1
	second.Status, second.Impact = incident.InProgress, incident.ImpactMaintenance
	second.AffectedComponents = nil
	second.UpdatedAt = time.Time{}
	second.Translations = map[string]incident.Translation{"de": {Message: "Wartung läuft."}}
	third.Status, third.IncidentID, third.Sequence = incident.Resolved, "INC-1", 2
	third.Message = "Bad: \x00\x1b[31m\ufffe\xff end\r\nnext\rlast"
	third.Translations = map[string]incident.Translation{"de-AT": {Title: "Alles geht wieder 🎉"}}
	third.ResolvedAt = start.Add(3 * time.Minute)
	third.Components = map[string]string{"auth-api": "operational"}
	third.Details = json.RawMessage(`{"on_call":"hunter2"}`)
	for i := range 25 {
		third.AffectedComponents = append(third.AffectedComponents, "c"+string(rune('a'+i)))
	}
	return t, []*channels.Update{third, second, first}
}

// documents renders a story the way a round does.
func documents(tb testing.TB, t *incident.Target, updates []*channels.Update) (docs [feeds.Formats][]byte) {
	tb.Helper()
	config := Defaults("1.2.3")
	config.Title, config.Link, config.Base = "Example & Co Status", "https://www.example.com/status", "https://status.example.com/"
	c, err := New(config, &memory{}, feeds.NewShelf(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	v := c.site.view(key{t.Page, t.Address}, t, updates, start)
	return [feeds.Formats][]byte{feeds.Atom: v.atom(), feeds.RSS: v.rss(), feeds.JSON: v.json()}
}

func storyDocuments(t *testing.T) [feeds.Formats][]byte {
	t.Helper()
	target, updates := story()
	return documents(t, target, updates)
}

func TestGolden(t *testing.T) {
	for name, docs := range map[string][feeds.Formats][]byte{
		"story": storyDocuments(t), "empty": documents(t, target(1, "eu"), nil),
	} {
		for f := range feeds.Formats {
			file := filepath.Join("testdata", name+f.Extension())
			if *rewrite {
				if err := os.WriteFile(file, docs[f], 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(docs[f], want) {
				t.Errorf("%s differs from its file; see whether that is right, then go test -rewrite", file)
			}
		}
	}
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

// atomDocument reads Atom by names and namespaces.
type atomDocument struct {
	XMLName xml.Name   `xml:"http://www.w3.org/2005/Atom feed"`
	Lang    string     `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
	ID      string     `xml:"http://www.w3.org/2005/Atom id"`
	Title   string     `xml:"http://www.w3.org/2005/Atom title"`
	Updated time.Time  `xml:"http://www.w3.org/2005/Atom updated"`
	Author  []string   `xml:"http://www.w3.org/2005/Atom author>name"`
	Links   []atomLink `xml:"http://www.w3.org/2005/Atom link"`
	Entries []struct {
		ID      string     `xml:"http://www.w3.org/2005/Atom id"`
		Title   string     `xml:"http://www.w3.org/2005/Atom title"`
		Updated time.Time  `xml:"http://www.w3.org/2005/Atom updated"`
		Links   []atomLink `xml:"http://www.w3.org/2005/Atom link"`
		Reply   []struct {
			Ref string `xml:"ref,attr"`
		} `xml:"http://purl.org/syndication/thread/1.0 in-reply-to"`
		Content struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"http://www.w3.org/2005/Atom content"`
	} `xml:"http://www.w3.org/2005/Atom entry"`
}

// TestAtom checks what RFC 4287 and RFC 4685 ask for.
func TestAtom(t *testing.T) {
	var d atomDocument
	if err := xml.Unmarshal(storyDocuments(t)[feeds.Atom], &d); err != nil {
		t.Fatal(err)
	}
	if d.ID != "tag:www.example.com,2026:feed/default/default" || d.Title != "Example & Co Status" || d.Lang != "de-AT" || len(d.Author) != 1 {
		t.Errorf("id %q, title %q, language %q, authors %q", d.ID, d.Title, d.Lang, d.Author)
	}
	if !slices.Contains(d.Links, atomLink{"self", "application/atom+xml", "https://status.example.com/feeds/default.atom"}) {
		t.Errorf("links %v: none is the feed's own", d.Links)
	}
	want := []struct{ id, thread string }{
		{"tag:www.example.com,2026:incident/default/INC-1/2", "tag:www.example.com,2026:incident/default/INC-1"},
		{"tag:www.example.com,2026:incident/default/INC%202%2F%C3%A4%3F%23/1", "tag:www.example.com,2026:incident/default/INC%202%2F%C3%A4%3F%23"},
		{"tag:www.example.com,2026:incident/default/INC-1/1", "tag:www.example.com,2026:incident/default/INC-1"},
	}
	if len(d.Entries) != len(want) {
		t.Fatalf("%d entries, want %d", len(d.Entries), len(want))
	}
	newest := time.Time{}
	for i, e := range d.Entries {
		if e.ID != want[i].id || len(e.Reply) != 1 || e.Reply[0].Ref != want[i].thread {
			t.Errorf("entry %d: id %q, in reply to %q", i, e.ID, e.Reply)
		}
		if e.Title == "" || e.Updated.IsZero() || e.Content.Type != "html" || e.Content.Text == "" {
			t.Errorf("entry %d lacks something: %+v", i, e)
		}
		if e.Updated.After(newest) {
			newest = e.Updated
		}
	}
	if !d.Updated.Equal(newest) {
		t.Errorf("updated %v, the newest entry %v", d.Updated, newest)
	}
	last := d.Entries[2]
	if last.Title != `<b>R&D</b> "down" [identified]` {
		t.Errorf("title %q", last.Title)
	}
	for _, l := range last.Links {
		if !strings.HasPrefix(l.Href, "https://") || strings.Contains(l.Href, "phish") {
			t.Errorf("a link to %s", l.Href)
		}
	}
	if len(last.Links) != 3 {
		t.Errorf("%d links, want 3", len(last.Links))
	}
	for _, bad := range []string{"<script", "<b>", "javascript:"} {
		if strings.Contains(last.Content.Text, bad) {
			t.Errorf("the content has %q: %s", bad, last.Content.Text)
		}
	}
	if got := d.Entries[0].Content.Text; !strings.Contains(got, "Bad: [31m end<br>\nnext<br>\nlast") || !strings.Contains(got, "and 6 more") {
		t.Errorf("content %q", got)
	}
}

// TestReaders has the same story read by a library that isn't ours, in all formats.
func TestReaders(t *testing.T) {
	target, updates := story()
	for f, text := range documents(t, target, updates) {
		d, err := gofeed.NewParser().Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", feeds.Format(f).Extension(), err)
		}
		if d.Title != "Example & Co Status" || d.FeedLink != "https://status.example.com/feeds/default"+feeds.Format(f).Extension() || d.Language == "" && f != int(feeds.Atom) {
			t.Errorf("%s: title %q, own link %q, language %q", feeds.Format(f).Extension(), d.Title, d.FeedLink, d.Language)
		}
		if len(d.Items) != 3 {
			t.Fatalf("%s: %d items", feeds.Format(f).Extension(), len(d.Items))
		}
		for i, item := range d.Items {
			u := updates[i]
			at := item.PublishedParsed
			if item.GUID != (&site{authority: "www.example.com"}).updateID(u.Page, u.IncidentID, u.Sequence) || at == nil || !at.Equal(u.At().Truncate(time.Second)) {
				t.Errorf("%s, item %d: id %q of %v", feeds.Format(f).Extension(), i, item.GUID, at)
			}
		}
		for i, want := range []string{"Alles geht wieder 🎉 [resolved]", "INC 2/ä?# [in progress]", `<b>R&D</b> "down" [identified]`} {
			if d.Items[i].Title != want {
				t.Errorf("%s, item %d: title %q, want %q", feeds.Format(f).Extension(), i, d.Items[i].Title, want)
			}
		}
		if d.Items[2].Link != "https://status.example.com/i/1?a=1&b=2" {
			t.Errorf("%s: link %q", feeds.Format(f).Extension(), d.Items[2].Link)
		}
		body := d.Items[1].Content + d.Items[1].Description
		if !strings.Contains(body, "<p>Wartung läuft.</p>") {
			t.Errorf("%s: content %q", feeds.Format(f).Extension(), body)
		}
	}
}

func TestRSS(t *testing.T) {
	text := string(storyDocuments(t)[feeds.RSS])
	for _, want := range []string{
		`<rss version="2.0"`, `<atom:link rel="self" type="application/rss+xml" href="https://status.example.com/feeds/default.rss"/>`,
		`<guid isPermaLink="false">tag:www.example.com,2026:incident/default/INC-1/2</guid>`, `<pubDate>Sat, 21 Nov 2026 05:03:00 +0000</pubDate>`,
		`<lastBuildDate>Sat, 21 Nov 2026 05:03:00 +0000</lastBuildDate>`, `<language>de-AT</language>`, `<link>https://www.example.com/status</link>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(text, "]]>") {
		t.Error("the end of a CDATA section is not escaped")
	}
}

// TestDetailsArePrivate: internal details are for feeds that only insiders know.
func TestDetailsArePrivate(t *testing.T) {
	public, updates := story()
	secret := *public
	secret.Address, secret.Visibility = private, incident.Private
	for name, f := range map[string]*incident.Target{"public": public, "private": &secret} {
		found := false
		for _, text := range documents(t, f, updates) {
			found = found || bytes.Contains(text, []byte("hunter2"))
		}
		if found != (f.Visibility == incident.Private) {
			t.Errorf("the %s feed shows details: %v", name, found)
		}
	}
}

// TestRestart renders the same store in another process, as it were: the same bytes,
// so the same ids and tags.
func TestRestart(t *testing.T) {
	target, updates := story()
	store := &memory{targets: []*incident.Target{target}, updates: updates[1:]}
	before, after := newKit(t, store, nil), newKit(t, store, nil)
	after.now = before.now.Add(24 * time.Hour)
	for _, k := range []*kit{before, after} {
		if err := k.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for f := range feeds.Formats {
		path := "/feeds/default" + f.Extension()
		if a, b := before.get(path), after.get(path); len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s is another after a restart", path)
		}
	}
}

// TestBounded keeps huge texts from making huge documents.
func TestBounded(t *testing.T) {
	store := &memory{targets: []*incident.Target{target(1, "default")}}
	for n := range 10 {
		u := update(n + 1)
		u.Message = strings.Repeat("x", 60<<10)
		store.add(u)
	}
	k := newKit(t, store, nil)
	k.equal("the newest", k.send("default", update(10)).Class, channels.Delivered)
	k.equal("shown", k.shown("/feeds/default.json"), "10 9 8 7")
	k.equal("one that had no room", k.send("default", update(1)).Class, channels.Delivered)
}

func TestTagOfAddresses(t *testing.T) {
	for authority, want := range map[string]string{
		"status.example.com": "tag:status.example.com,2026:feed/a/b", "127.0.0.1": "tag:127.0.0.1,2026:feed/a/b", "::1": "tag:--1,2026:feed/a/b",
	} {
		if got := (&site{authority: authority}).tag("feed", "a", "b"); got != want {
			t.Errorf("%s: %s", authority, got)
		}
	}
}

// tool returns the path of a program that make deps installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil && testing.Short() {
		t.Skipf("%s is missing", name)
	}
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	return file
}

func TestXmllint(t *testing.T) {
	xmllint := tool(t, "xmllint")
	docs := storyDocuments(t)
	for _, f := range []feeds.Format{feeds.Atom, feeds.RSS} {
		command := exec.Command(xmllint, "--noout", "--nonet", "--pedantic", "-")
		command.Stdin = bytes.NewReader(docs[f])
		if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", f.Extension(), err, out)
		}
	}
}

// feedparserScript prints what Python's feedparser makes of a feed.
const feedparserScript = `
import feedparser, json, sys
d = feedparser.parse(sys.stdin.buffer.read())
print(json.dumps({
    "bozo": bool(d.bozo), "version": d.version, "title": d.feed.title, "language": d.feed.get("language", ""),
    "self": [l.href for l in d.feed.links if l.rel == "self"],
    "entries": [{"id": e.id, "title": e.title, "at": list(e.published_parsed)[:6], "link": e.get("link", ""),
        "body": e.content[0].value if "content" in e else e.summary,
        "tags": [t.term for t in e.tags], "reply": e.get("in-reply-to", e.get("thr_in-reply-to", {})).get("ref", "")} for e in d.entries]}))
`

func TestFeedparser(t *testing.T) {
	python := tool(t, "/usr/bin/python3")
	docs := storyDocuments(t)
	for f, version := range map[feeds.Format]string{feeds.Atom: "atom10", feeds.RSS: "rss20"} {
		command := exec.Command(python, "-c", feedparserScript)
		command.Stdin = bytes.NewReader(docs[f])
		var complaints bytes.Buffer
		command.Stderr = &complaints
		out, err := command.Output()
		if err != nil {
			t.Fatalf("feedparser (run make deps if it is missing): %v\n%s", err, &complaints)
		}
		var d struct {
			Bozo                     bool
			Version, Title, Language string
			Self                     []string
			Entries                  []struct {
				ID, Title, Link, Body, Reply string
				At                           [6]int
				Tags                         []string
			}
		}
		if err := json.Unmarshal(out, &d); err != nil {
			t.Fatal(err)
		}
		if d.Bozo || d.Version != version || d.Language != "de-AT" || len(d.Entries) != 3 ||
			!slices.Equal(d.Self, []string{"https://status.example.com/feeds/default" + f.Extension()}) {
			t.Fatalf("%s: %s", f.Extension(), out)
		}
		e := d.Entries[0]
		if e.ID != "tag:www.example.com,2026:incident/default/INC-1/2" || e.Title != "Alles geht wieder 🎉 [resolved]" ||
			e.At != [6]int{2026, 11, 21, 5, 3, 0} || !slices.Contains(e.Tags, "resolved") {
			t.Errorf("%s: %+v", f.Extension(), e)
		}
		if f == feeds.Atom && e.Reply != "tag:www.example.com,2026:incident/default/INC-1" {
			t.Errorf("%s: in reply to %q", f.Extension(), e.Reply)
		}
		if body := d.Entries[2].Body; !strings.Contains(body, "]]&gt;") || !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, "A &amp; B") {
			t.Errorf("%s: body %q", f.Extension(), body)
		}
	}
}

// FuzzDocuments puts anything into every text: all documents parse, say the same, and
// hold no markup or link of the text's.
func FuzzDocuments(f *testing.F) {
	f.Add("Title", "Message", "INC-1", "auth-api", "https://a.example/")
	f.Add("]]>", "<script>\n\n\n&amp;", "a/b c\x00", "\xff\xfe", "javascript:alert(1)")
	f.Add("\u202e\ufffe\U0001f389", "\r\r\n\x1b", "\t", "\"'><", "https://a.example/\"><x")
	f.Fuzz(func(t *testing.T, title, message, id, component, link string) {
		u := update(1)
		u.Title, u.Message, u.IncidentID, u.AffectedComponents = title, message, id, []string{component}
		u.Links = []incident.Link{{URL: link}, {Title: title, URL: link}}
		docs := documents(t, target(1, "default"), []*channels.Update{u})
		var a atomDocument
		if err := xml.Unmarshal(docs[feeds.Atom], &a); err != nil {
			t.Fatalf("atom: %v\n%s", err, docs[feeds.Atom])
		}
		var r struct {
			Items []struct {
				Title       string `xml:"title"`
				Description string `xml:"description"`
				GUID        string `xml:"guid"`
			} `xml:"channel>item"`
		}
		if err := xml.Unmarshal(docs[feeds.RSS], &r); err != nil {
			t.Fatalf("rss: %v\n%s", err, docs[feeds.RSS])
		}
		var j jsonFeed
		if err := json.Unmarshal(docs[feeds.JSON], &j); err != nil {
			t.Fatalf("json: %v\n%s", err, docs[feeds.JSON])
		}
		if len(a.Entries) != 1 || len(r.Items) != 1 || len(j.Items) != 1 {
			t.Fatalf("%d, %d and %d entries", len(a.Entries), len(r.Items), len(j.Items))
		}
		e, item, one := a.Entries[0], r.Items[0], j.Items[0]
		if e.ID != item.GUID || e.ID != one.ID || e.Title != item.Title || e.Title != one.Title || e.Content.Text != item.Description || e.Content.Text != one.HTML {
			t.Fatalf("the formats differ:\n%+v\n%+v\n%+v", e, item, one)
		}
		// Only our own tags are in the content, and links of the web, whose scheme
		// may be in capitals.
		rest := e.Content.Text
		for _, ours := range []string{"<p>", "</p>", "<strong>", "</strong>", "<br>", "</a>"} {
			rest = strings.ReplaceAll(rest, ours, "")
		}
		if n := strings.Count(rest, "<"); n != strings.Count(strings.ToLower(rest), `<a href="http`) || n > 1 {
			t.Fatalf("markup in %q", e.Content.Text)
		}
	})
}
