package channels

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Words are what a peer said about a failure.
type Words struct {
	// Text is in whatever encoding the peer chose.
	Text []byte
	// More is true where the peer said, or may have said, more than Text.
	More bool
}

const (
	// redacted stands for what was taken out of a peer's words.
	redacted = "[…]"
	// maxWords is how much of a peer's words is looked at, in bytes.
	maxWords = 1 << 10
	// minPart is the shortest text that is hidden, in bytes: "al" is in many words.
	minPart = 3
)

// private matches what looks like a URL, a mailbox, a phone number or a key.
var private = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://\S+|\S+@\S+|\bwhsec_\S*|\+?[0-9][0-9 ()/-]{7,}[0-9]|[a-z0-9_+/=.~-]{28,}`)

// Detail puts a peer's words behind a cause, in the form of [Result].Detail. Peers
// repeat what they were sent: secrets of the target and parts of what else may not
// be shown (its address, a login) go, whatever their case, and what looks like
// somebody else's too. Parts of less than 3 bytes stay.
func Detail(cause string, said Words, secrets, parts []string) string {
	if len(said.Text) > maxWords {
		said = Words{said.Text[:maxWords], true}
	}
	hidden := hiddenForms(secrets, parts)
	text := printable(string(said.Text))
	for _, part := range hidden {
		text = hide(text, part)
	}
	text = private.ReplaceAllString(text, redacted)
	if said.More {
		text = withoutRest(text, hidden)
	}
	if text != "" {
		cause += ": " + text
	}
	return cut(cause, MaxDetail)
}

// hiddenForms returns what may not be shown, the longest first: secrets as they are
// configured, without their prefix, and as the key they stand for.
func hiddenForms(secrets, parts []string) []string {
	all := slices.Clone(parts)
	for _, secret := range secrets {
		bare := strings.TrimPrefix(secret, "whsec_")
		all = append(all, secret, bare)
		if key, err := base64.StdEncoding.DecodeString(bare); err == nil {
			all = append(all, string(key))
		}
	}
	for i := range all {
		all[i] = printable(all[i]) // as the words are
	}
	all = slices.DeleteFunc(all, func(part string) bool { return len(part) < minPart })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// printable makes one line of UTF-8 of text, with single spaces for all that is none
// or can't be seen.
func printable(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
}

// hide takes part out of text, whatever the case of its letters.
func hide(text, part string) string {
	var out strings.Builder
	for i := 0; i+len(part) <= len(text); {
		if !strings.EqualFold(text[i:i+len(part)], part) {
			i++
			continue
		}
		out.WriteString(text[:i] + redacted)
		text, i = text[i+len(part):], 0
	}
	return out.String() + text
}

// withoutRest takes off what may be the beginning of something that would have been
// taken out, had the peer's words not been cut in the middle of it.
func withoutRest(text string, hidden []string) string {
	for _, part := range hidden {
		for n := min(len(part)-1, len(text)); n > 0; n-- {
			if strings.EqualFold(text[len(text)-n:], part[:n]) {
				text = text[:len(text)-n]
				break
			}
		}
	}
	text = text[:strings.LastIndexAny(text, " \"'<>")+1]
	return strings.TrimRight(text, "0123456789 ()/+-\"'<")
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
