package incident

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The cleaners below return the normalised text, or the reason to refuse it.
// Cleaning twice changes nothing.

const notUTF8 = "must be UTF-8"

// blank are the spaces trimmed at both ends; line breaks are not among them, for
// in one line they are a fault rather than untidy.
func blank(r rune) bool { return r == '\t' || unicode.Is(unicode.Zs, r) }

// identifier takes names that others compare, store and send in headers: printable
// only, so no control, bidi or zero-width characters and no space but U+0020.
func identifier(s string, maxBytes int) (clean, reason string) {
	s = strings.TrimFunc(s, blank)
	switch {
	case !utf8.ValidString(s):
		return "", notUTF8
	case len(s) > maxBytes:
		return "", fmt.Sprintf("must be at most %d bytes", maxBytes)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", "must be printable characters only: no line breaks, control, bidi or zero-width characters"
	}
	return s, ""
}

// token takes names that become part of paths and file names: 1 to 64 of letters,
// digits and . _ -, and something besides dots.
func token(s string, upper bool) (clean, reason string) {
	s = strings.TrimFunc(s, blank)
	letters := "a-z 0-9"
	if upper {
		letters = "a-z A-Z 0-9"
	}
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || upper && r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '.' || r == '_' || r == '-')
	}
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, odd) || strings.Trim(s, ".") == "" {
		return "", "must be 1 to 64 of " + letters + " . _ - and not dots alone"
	}
	return s, ""
}

// line takes a text of one line.
func line(s string, maxRunes int) (clean, reason string) {
	if !utf8.ValidString(s) {
		return "", notUTF8
	}
	s = strings.TrimFunc(stripInvisible(s), blank)
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return "", "must be one line without control characters"
	case utf8.RuneCountInString(s) > maxRunes:
		return "", fmt.Sprintf("must be at most %d characters", maxRunes)
	}
	return s, ""
}

// prose takes a text of many lines. CR LF becomes LF; a CR alone is refused, since
// mail and SMS gateways disagree about it.
func prose(s string, maxBytes int) (clean, reason string) {
	if !utf8.ValidString(s) {
		return "", notUTF8
	}
	s = strings.TrimSpace(stripInvisible(strings.ReplaceAll(s, "\r\n", "\n")))
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return "", "must not have control characters besides line breaks and tabs"
	case len(s) > maxBytes:
		return "", fmt.Sprintf("must be at most %d bytes", maxBytes)
	}
	return s, ""
}

// stripInvisible drops what reorders or hides text: bidirectional controls,
// zero-width and other format characters, tags, noncharacters (which XML 1.0 does
// not allow). Zero-width joiners stay after a non-ASCII letter, mark or symbol:
// Persian, the scripts of India and emoji are misspelt without them.
func stripInvisible(s string) string {
	if !strings.ContainsFunc(s, invisible) {
		return s
	}
	var prev rune
	return strings.Map(func(r rune) rune {
		joins := (r == '\u200c' || r == '\u200d') && prev > unicode.MaxASCII &&
			unicode.In(prev, unicode.L, unicode.M, unicode.S)
		if invisible(r) && !joins {
			return -1
		}
		prev = r
		return r
	}, s)
}

func invisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
}

// localeTag takes a language tag of the simple form of BCP 47 (RFC 5646): a
// language of 2 to 8 letters and subtags of 1 to 8 letters or digits, 35 bytes in
// all. It returns the usual spelling, "pt-BR" for "pt_br" and "zh-Hant" for
// "ZH-hant".
func localeTag(s string) (clean, reason string) {
	const refusal = `must be a language tag such as "en" or "pt-BR"`
	parts := strings.Split(strings.ReplaceAll(strings.TrimFunc(s, blank), "_", "-"), "-")
	for i, part := range parts {
		if len(part) < 1 || len(part) > 8 || strings.ContainsFunc(part, func(r rune) bool { return !asciiAlnum(r) }) {
			return "", refusal
		}
		part = strings.ToLower(part)
		switch {
		case i == 0 && (len(part) < 2 || strings.ContainsAny(part, "0123456789")):
			return "", refusal
		case i > 0 && len(part) == 2:
			part = strings.ToUpper(part)
		case i > 0 && len(part) == 4:
			part = strings.ToUpper(part[:1]) + part[1:]
		}
		parts[i] = part
	}
	s = strings.Join(parts, "-")
	if len(s) > 35 {
		return "", refusal
	}
	return s, ""
}

func asciiAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
