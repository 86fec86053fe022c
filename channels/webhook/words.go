package webhook

import (
	"encoding/base64"
	neturl "net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// redacted stands for what was taken out of a peer's words.
const redacted = "[…]"

var (
	tags = regexp.MustCompile(`(?s)<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>?`)
	// private matches what looks like a URL, a mailbox, a phone number or a key.
	private = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://\S+|\S+@\S+|\bwhsec_\S*|\+?[0-9][0-9 ()/-]{7,}[0-9]|[a-z0-9_+/=.~-]{28,}`)
)

// detail puts the peer's words behind our own, in the form of
// [channels.Result].Detail. Peers repeat what they were sent: whatever is part of
// the address or a secret goes, and what looks like somebody else's too.
func detail(cause string, words []byte, secrets []string, url egress.URL) string {
	said := string(words)
	for _, secret := range secrets {
		bare := strings.TrimPrefix(secret, "whsec_")
		said = replaceFold(replaceFold(said, secret), bare)
		if raw, err := base64.StdEncoding.DecodeString(bare); err == nil {
			said = replaceFold(said, string(raw))
		}
	}
	said = strings.ToValidUTF8(said, "")
	if strings.HasPrefix(strings.TrimSpace(said), "<") {
		said = tags.ReplaceAllString(said, " ")
	}
	for _, part := range addressParts(url) {
		said = replaceFold(said, part)
	}
	said = private.ReplaceAllString(said, redacted)
	said = strings.Join(strings.FieldsFunc(said, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if said != "" {
		cause += ": " + said
	}
	return cut(cause, channels.MaxDetail)
}

// addressParts are the pieces of a URL that may not be shown, the longest first, as
// they were written and without percent-encoding. Short ones are left out: "v1" is
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
	slices.SortFunc(kept, func(a, b string) int { return len(b) - len(a) })
	return kept
}

// replaceFold takes part out of text, whatever the case of its letters.
func replaceFold(text, part string) string {
	if part == "" {
		return text
	}
	for i := 0; i+len(part) <= len(text); {
		if strings.EqualFold(text[i:i+len(part)], part) {
			text = text[:i] + redacted + text[i+len(part):]
			i += len(redacted)
		} else {
			i++
		}
	}
	return text
}

// cut shortens text to at most limit bytes at the end of a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
