package rss

import (
	"time"

	"github.com/tocsin/tocsin/internal/feeds"
)

// rss writes the feed as RSS 2.0, with the address it has itself as the RSS Advisory
// Board's profile recommends.
func (v *view) rss() []byte {
	w := &xmlWriter{out: []byte(declaration)}
	w.open("rss", "version", "2.0", "xmlns:atom", "http://www.w3.org/2005/Atom")
	w.open("channel")
	w.element("title", v.title)
	w.element("link", v.link)
	w.element("description", v.title+": incidents and maintenance")
	w.element("language", v.lang)
	w.element("lastBuildDate", v.updated.Format(time.RFC1123Z))
	w.element("generator", v.generator+" "+v.version)
	w.element("docs", "https://www.rssboard.org/rss-specification")
	w.element("ttl", "1")
	w.element("atom:link", "", "rel", "self", "type", mediaType(feeds.RSS), "href", v.self[feeds.RSS])
	for i := range v.entries {
		v.entries[i].rss(w)
	}
	w.close("channel")
	w.close("rss")
	return w.out
}

func (e *entry) rss(w *xmlWriter) {
	w.open("item")
	w.element("title", e.title)
	if e.url != "" {
		w.element("link", e.url)
	}
	w.element("description", e.html)
	for _, word := range e.words {
		w.element("category", word)
	}
	w.element("guid", e.id, "isPermaLink", "false")
	w.element("pubDate", e.at.Format(time.RFC1123Z))
	w.close("item")
}
