// Package feeds keeps published feeds as finished bytes and serves them: over HTTP,
// and as files for another web server.
//
// Promise: a request is answered from memory, without rendering, compressing or
// asking anyone, so that feeds are there when everything else is down. The formats
// of a feed change together and at once. An ETag names exactly the bytes it came
// with, and a 304 is said only of what the client really has.
//
// Words: a shelf holds all feeds; an edition is what one feed says at one time, as a
// document in each [Format]; a representation is a document as it travels, plain or
// compressed. A feed's name is its URL below /feeds/ without the extension, such as
// "default" or "default/eu-west".
package feeds

import (
	"bytes"
	"compress/gzip"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Prefix is the path below which feeds are served.
const Prefix = "/feeds/"

// Format is one of the syntaxes a feed is published in.
type Format int

// The formats; Formats is their number.
const (
	Atom Format = iota // RFC 4287
	RSS                // RSS 2.0
	JSON               // JSON Feed 1.1
	Formats
)

// Extension returns the end of the format's URLs and files, such as ".atom".
func (f Format) Extension() string { return [Formats]string{".atom", ".rss", ".json"}[f] }

// ContentType returns the format's media type.
func (f Format) ContentType() string {
	return [Formats]string{
		"application/atom+xml; charset=utf-8", "application/rss+xml; charset=utf-8", "application/feed+json; charset=utf-8",
	}[f]
}

// Reserved reports whether a part of a name is one that files need: that of another
// feed's document or of one being written.
func Reserved(name string) bool {
	if strings.HasPrefix(name, ".") {
		return true
	}
	for f := range Formats {
		if strings.HasSuffix(name, f.Extension()) {
			return true
		}
	}
	return strings.HasSuffix(name, gzipExtension)
}

// Shelf holds the editions that are served now. It is safe for concurrent use; the
// editions of one feed have to come one after the other.
type Shelf struct {
	mu      sync.Mutex // of who changes the map, which is never changed in place
	feeds   atomic.Pointer[map[string]*place]
	writers sync.Pool // of *gzip.Writer
}

// place is where the current edition of a feed is.
type place struct{ edition atomic.Pointer[Edition] }

// NewShelf returns an empty shelf.
func NewShelf() *Shelf {
	s := &Shelf{writers: sync.Pool{New: func() any { return gzip.NewWriter(nil) }}}
	s.feeds.Store(new(map[string]*place))
	return s
}

// Content is what a feed has to say.
type Content struct {
	Bodies [Formats][]byte
	// Private keeps shared caches and search engines away.
	Private bool
	// Now is when this content came to be, the source of Last-Modified. The first
	// edition counts as made at NewsAt, when the newest of it came to be (if it is
	// set): after a restart, readers know it already.
	Now, NewsAt time.Time
}

// Publish puts a new edition in the place of the one before and returns it. A
// document that did not change stays the same, its dates included.
func (s *Shelf) Publish(name string, c Content) *Edition {
	var before *Edition
	p := (*s.feeds.Load())[name]
	if p != nil {
		before = p.edition.Load()
	}
	e := s.edition(c, before)
	if p != nil {
		p.edition.Store(e)
		return e
	}
	p = new(place)
	p.edition.Store(e)
	s.change(func(all map[string]*place) { all[name] = p })
	return e
}

// Remove takes a feed away; one that isn't there is no error.
func (s *Shelf) Remove(name string) {
	s.change(func(all map[string]*place) { delete(all, name) })
}

func (s *Shelf) change(do func(map[string]*place)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(*s.feeds.Load())
	if all == nil {
		all = make(map[string]*place)
	}
	do(all)
	s.feeds.Store(&all)
}

// maxPath is above the longest path of a feed: a page and a name of 64 bytes each.
const maxPath = 256

// find returns the document at the path of a request, nil if there is none. Paths
// are compared as they came: no feed has one that needs to be encoded or cleaned,
// so what comes encoded, with dots or with doubled slashes names no feed.
func (s *Shelf) find(path []byte) *document {
	dot := bytes.LastIndexByte(path, '.')
	if len(path) > maxPath || dot < len(Prefix) || string(path[:len(Prefix)]) != Prefix {
		return nil
	}
	var f Format
	switch string(path[dot:]) {
	case ".atom":
		f = Atom
	case ".rss":
		f = RSS
	case ".json":
		f = JSON
	default:
		return nil
	}
	p := (*s.feeds.Load())[string(path[len(Prefix):dot])]
	if p == nil {
		return nil
	}
	return p.edition.Load().documents[f]
}
