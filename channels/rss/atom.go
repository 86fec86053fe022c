package rss

import (
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/feeds"
)

const declaration = `<?xml version="1.0" encoding="utf-8"?>` + "\n"

// atom writes the feed as Atom (RFC 4287). Each entry replies to its incident
// (RFC 4685), which is how readers thread.
func (v *view) atom() []byte {
	w := &xmlWriter{out: []byte(declaration)}
	w.open("feed", "xmlns", "http://www.w3.org/2005/Atom", "xmlns:thr", "http://purl.org/syndication/thread/1.0", "xml:lang", v.lang)
	w.element("id", v.id)
	w.element("title", v.title)
	w.element("updated", v.updated.Format(time.RFC3339))
	w.open("author")
	w.element("name", v.site.title)
	w.close("author")
	w.element("link", "", "rel", "self", "type", mediaType(feeds.Atom), "href", v.self[feeds.Atom])
	w.element("link", "", "rel", "alternate", "type", "text/html", "href", v.link)
	w.element("generator", v.generator, "version", v.version)
	for i := range v.entries {
		v.entries[i].atom(w)
	}
	w.close("feed")
	return w.out
}

func (e *entry) atom(w *xmlWriter) {
	at := e.at.Format(time.RFC3339)
	w.open("entry")
	w.element("id", e.id)
	w.element("title", e.title)
	w.element("published", at)
	w.element("updated", at)
	if e.url == "" {
		w.element("thr:in-reply-to", "", "ref", e.thread)
	} else {
		w.element("link", "", "rel", "alternate", "href", e.url)
		w.element("thr:in-reply-to", "", "ref", e.thread, "href", e.url)
	}
	for _, l := range e.others {
		w.element("link", "", "rel", "related", "title", l.Title, "href", l.URL)
	}
	for _, word := range e.words {
		w.element("category", "", "term", word)
	}
	w.element("content", e.html, "type", "html")
	w.close("entry")
}

// mediaType is a content type without its charset.
func mediaType(f feeds.Format) string {
	name, _, _ := strings.Cut(f.ContentType(), ";")
	return name
}
