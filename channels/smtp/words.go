package smtp

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin/tocsin/channels"
)

// redacted stands for what was taken out of a relay's words.
const redacted = "[…]"

// private matches what looks like a URL, a mailbox, a phone number or a key.
var private = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://\S+|\S+@\S+|\bwhsec_\S*|\+?[0-9][0-9 ()/-]{7,}[0-9]|[a-z0-9_+/=.~-]{28,}`)

// detail puts the relay's words behind our own, in the form of
// [channels.Result].Detail. Relays repeat what they were sent: whatever is part of
// the address, the login or a secret goes, and what looks like somebody else's too.
// m may be nil.
func detail(cause string, words []byte, r *relay, m *channels.Message) string {
	said := strings.ToValidUTF8(string(words), "")
	for _, part := range hidden(r, m) {
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

// hidden are the texts that may not be shown, the longest first. The shortest are
// left out: "al" is in many words.
func hidden(r *relay, m *channels.Message) []string {
	parts := []string{r.user, r.password,
		base64.StdEncoding.EncodeToString([]byte(r.user)), base64.StdEncoding.EncodeToString([]byte(r.password))}
	if m != nil {
		local, domain, _ := strings.Cut(m.Address, "@")
		parts = append(append(parts, m.Address, local, domain), m.Secrets...)
		for _, secret := range m.Secrets {
			parts = append(parts, strings.TrimPrefix(secret, "whsec_"))
		}
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return len(p) < 3 })
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}

// replaceFold takes part out of text, whatever the case of its letters.
func replaceFold(text, part string) string {
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
