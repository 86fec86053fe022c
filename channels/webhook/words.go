package webhook

import (
	"bytes"
	neturl "net/url"
	"regexp"
	"strings"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// tags matches what a page of HTML has besides text.
var tags = regexp.MustCompile(`(?s)<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>?`)

// detail puts the peer's words behind our own.
func detail(cause string, said channels.Words, secrets []string, url egress.URL) string {
	if bytes.HasPrefix(bytes.TrimSpace(said.Text), []byte("<")) {
		said.Text = tags.ReplaceAll(said.Text, []byte(" "))
	}
	return channels.Detail(cause, said, secrets, addressParts(url))
}

// addressParts are the pieces of a URL that may not be shown, as they were written
// and without percent-encoding. Short ones are left out: "v1" is
// in many words.
func addressParts(url egress.URL) []string {
	const short = 4
	path, query, _ := strings.Cut(url.Path, "?")
	parts := []string{url.Authority + url.Path, url.Path, query, url.Authority, url.Host}
	parts = append(parts, strings.Split(path, "/")...)
	for pair := range strings.SplitSeq(query, "&") {
		_, value, found := strings.Cut(pair, "=")
		if !found {
			value = pair
		}
		parts = append(parts, value)
	}
	var kept []string
	for _, p := range parts {
		if len(p) < short {
			continue
		}
		kept = append(kept, p)
		if plain, err := neturl.PathUnescape(p); err == nil && plain != p {
			kept = append(kept, plain)
		}
	}
	return kept
}
