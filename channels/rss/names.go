package rss

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/feeds"
)

// key names a feed.
type key struct{ page, name string }

// own reports whether it is the page's own feed.
func (k key) own() bool { return k.name == strings.ToLower(k.page) }

// path is the feed's name on the shelf: pages and names have no slash.
func (k key) path() string {
	if k.own() {
		return k.page
	}
	return k.page + "/" + k.name
}

const (
	// privateName is the least length of a private feed's name, and privateLetters
	// how many different characters it has at least: 128 random bits in hex have
	// both, words that people think of have not.
	privateName    = 32
	privateLetters = 8
)

// CheckTarget refuses, with an [*incident.Invalid], a target that can't publish a
// feed. Who knows the name of a private feed can read it: it has to be one that
// nobody guesses, such as the output of "openssl rand -hex 16".
func CheckTarget(t *incident.Target) error {
	for _, f := range []struct{ field, name string }{{"address", t.Address}, {"page", t.Page}} {
		if feeds.Reserved(f.name) {
			return &incident.Invalid{Field: f.field, Reason: "must not begin with a dot or end in .atom, .rss, .json or .gz on the channel rss"}
		}
	}
	if t.Visibility == incident.Private && !unguessable(t.Address) {
		return &incident.Invalid{Field: "address", Reason: "of a private feed is its password: it must be at least 32 random characters, such as openssl rand -hex 16 prints"}
	}
	return nil
}

func unguessable(name string) bool {
	letters := make(map[rune]struct{})
	for _, r := range name {
		letters[r] = struct{}{}
	}
	return len(name) >= privateName && len(letters) >= privateLetters
}

// tag makes an id of the parts (RFC 4151). The date is of the scheme, not of what it
// names: any date would do on which the authority had its name.
func (s *site) tag(parts ...string) string {
	authority := s.authority
	if address, err := netip.ParseAddr(authority); err == nil && address.Is6() {
		authority = strings.ReplaceAll(address.WithZone("").String(), ":", "-") // no part of a tag
	}
	id := "tag:" + authority + ",2026:"
	for i, p := range parts {
		if i > 0 {
			id += "/"
		}
		id += url.PathEscape(p)
	}
	return id
}

// incidentID is the id of an incident, which its updates reply to; updateID that of
// an update's entry, the same in every feed.
func (s *site) incidentID(page, incident string) string { return s.tag("incident", page, incident) }

func (s *site) updateID(page, incident string, sequence int) string {
	return s.tag("incident", page, incident, strconv.Itoa(sequence))
}

// webURL returns an http or https URL that is safe to follow, or "".
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || clean(s) != s || strings.ContainsAny(s, " \n\t") ||
		u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return ""
	}
	return s
}
