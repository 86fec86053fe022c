package rss

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean returns s without what documents may not hold: bytes that are no UTF-8,
// characters that are none of XML 1.0 (section 2.2), control characters besides tab
// and line feed, noncharacters. Line ends become line feeds, as XML readers would
// make them.
func clean(s string) string {
	if !strings.ContainsFunc(s, unwritable) {
		return s // nearly always: the intake refuses most of it
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\r':
			b.WriteByte('\n')
		case r == utf8.RuneError && size == 1, r != utf8.RuneError && unwritable(r):
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// unwritable holds for U+FFFD as well, which stands for bytes that are no UTF-8.
func unwritable(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError ||
		unicode.Is(unicode.Noncharacter_Code_Point, r)
}

// xmlWriter appends XML. Names are ours; texts and values have to be clean, and are
// escaped, so that no text can end its element, a CDATA section or an attribute.
type xmlWriter struct{ out []byte }

// element writes an element with a text; attributes are names and values in turn.
func (w *xmlWriter) element(name, text string, attributes ...string) {
	w.tag(name, attributes)
	if text == "" {
		w.out = append(w.out, "/>\n"...)
		return
	}
	w.out = append(w.out, '>')
	w.text(text)
	w.close(name)
}

// open begins an element that has others in it.
func (w *xmlWriter) open(name string, attributes ...string) {
	w.tag(name, attributes)
	w.out = append(w.out, ">\n"...)
}

func (w *xmlWriter) close(name string) {
	w.out = append(w.out, "</"...)
	w.out = append(w.out, name...)
	w.out = append(w.out, ">\n"...)
}

func (w *xmlWriter) tag(name string, attributes []string) {
	w.out = append(w.out, '<')
	w.out = append(w.out, name...)
	for i := 0; i < len(attributes); i += 2 {
		w.out = append(w.out, ' ')
		w.out = append(w.out, attributes[i]...)
		w.out = append(w.out, `="`...)
		w.text(attributes[i+1])
		w.out = append(w.out, '"')
	}
}

// text escapes for texts and attribute values alike. Tabs and line feeds would not
// survive in an attribute, but no attribute of ours has any that matter.
func (w *xmlWriter) text(s string) {
	from := 0
	for i := range len(s) {
		escape := ""
		switch s[i] {
		case '&':
			escape = "&amp;"
		case '<':
			escape = "&lt;"
		case '>':
			escape = "&gt;"
		case '"':
			escape = "&quot;"
		default:
			continue
		}
		w.out = append(w.out, s[from:i]...)
		w.out = append(w.out, escape...)
		from = i + 1
	}
	w.out = append(w.out, s[from:]...)
}
