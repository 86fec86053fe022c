package smtp

import (
	"encoding/base64"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is the longest line of an encoded text, CR LF left out (RFC 2045, section
// 6.7, and RFC 2047, section 2).
const maxLine = 76

// appendQuoted appends text, whose lines end in LF, in quoted-printable (RFC 2045,
// section 6.7), so that it passes relays without 8BITMIME. No line begins with a dot
// or with "From ": nothing on the way has to change it or can take it for more than
// text.
func appendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	column := 0
	for i := range len(text) {
		c := text[i]
		if c == '\n' {
			dst = append(dst, '\r', '\n')
			column = 0
			continue
		}
		if column > maxLine-4 { // room for =XX and the = of a soft break
			dst = append(dst, '=', '\r', '\n')
			column = 0
		}
		plain := c > ' ' && c < 0x7f && c != '='
		switch {
		case c == ' ' || c == '\t':
			plain = i+1 < len(text) && text[i+1] != '\n'
		case column == 0 && (c == '.' || c == 'F' && strings.HasPrefix(text[i:], "From ")):
			plain = false
		}
		if plain {
			dst = append(dst, c)
			column++
			continue
		}
		dst = append(dst, '=', hex[c>>4], hex[c&15])
		column += 3
	}
	return dst
}

// softBreak goes around what is put between two pieces of quoted text.
const softBreak = "=\r\n"

// plainText makes text fit to be encoded: valid UTF-8, lines that end in LF, no
// other control characters than tabs.
func plainText(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// oneLine makes text fit for a header: no line breaks, no control characters, no
// more than so many characters.
func oneLine(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most-1]) + "…"
	}
	return text
}

// header returns an unstructured header (RFC 5322, section 3.6.5), its line end
// included. What is not short and plain ASCII is encoded (RFC 2047).
func header(name, text string) string {
	if plainHeader(text) && len(name)+len(": ")+len(text) <= maxLine {
		return name + ": " + text + "\r\n"
	}
	return name + ": " + encodedWords(text, maxLine-len(name)-len(": ")) + "\r\n"
}

// plainHeader reports whether text means in a header what it says.
func plainHeader(text string) bool {
	return !strings.Contains(text, "=?") && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// encodedWords returns text in encoded words, each on a line of its own; first is
// the room on the first line.
func encodedWords(text string, first int) string {
	const begin, end = "=?utf-8?b?", "?="
	var out strings.Builder
	for room := first; text != ""; room = maxLine - 1 {
		most := (room - len(begin) - len(end)) / 4 * 3
		n := 0
		for n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			if n > 0 && n+size > most {
				break
			}
			n += size
		}
		if out.Len() > 0 {
			out.WriteString("\r\n ")
		}
		out.WriteString(begin + base64.StdEncoding.EncodeToString([]byte(text[:n])) + end)
		text = text[n:]
	}
	return out.String()
}

// sender returns the value of a From header.
func sender(from *mail.Address) string {
	switch {
	case from.Name == "":
		return from.Address
	case plainHeader(from.Name):
		return (&mail.Address{Name: from.Name, Address: from.Address}).String()
	}
	return encodedWords(from.Name, maxLine-len("From: ")) + "\r\n <" + from.Address + ">"
}

// mailbox reports whether an address is a bare mailbox whose either side is a
// dot-atom (RFC 5322, section 3.4.1), which needs no quoting in the protocol or in a
// header. Targets are checked when they are registered; this is what keeps the
// protocol in order whatever is in the store.
func mailbox(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || len(local) > 64 || local == "" || local[0] == '-' || local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return false
	}
	for i := range len(local) {
		c := local[i]
		if !alnum(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 {
			return false
		}
	}
	return domainName(domain)
}

// domainName reports whether s is a host name in letters, digits and hyphens (RFC
// 1123), which may be a single label.
func domainName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !alnum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}
