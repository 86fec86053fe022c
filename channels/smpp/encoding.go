package smpp

import (
	"strings"
	"unicode/utf16"

	"github.com/fiorix/go-smpp/smpp/encoding"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// text is a rendered message: the payload of this channel. It is shared by
// concurrent sends and never changed.
type text struct {
	// coding is data_coding (section 5.2.19): the centre's default alphabet, taken
	// to be GSM 03.38 with a septet in each byte, or UCS-2.
	coding pdutext.DataCoding
	// segments are the message in parts that fit, without user data headers.
	segments [][]byte
	// whole is the message in one piece.
	whole []byte
}

// The sizes of short messages (3GPP TS 23.038 and 23.040), in bytes as SMPP carries
// them: 160 septets or 140 bytes, less the user data header where there are many.
const (
	gsmSingle, gsmPart   = 160, 153
	ucs2Single, ucs2Part = 70 * 2, 67 * 2
	// MaxSegments is how many segments a message may have; more is cut off.
	MaxSegments = 10
	// gsmEscape leads to the extension table: it and the next septet are one
	// character.
	gsmEscape = 0x1B
)

// plainer has what typographers use and GSM 03.38 lacks. One of these would make a
// whole message UCS-2, with less than half the room.
var plainer = strings.NewReplacer(
	"\u2018", "'", "\u2019", "'", "\u201a", "'", "\u201b", "'", "\u201c", `"`, "\u201d", `"`, "\u201e", `"`, "\u00ab", `"`, "\u00bb", `"`,
	"\u2010", "-", "\u2011", "-", "\u2012", "-", "\u2013", "-", "\u2014", "-", "\u2212", "-", "\u2026", "...", "\u2022", "-", "\u00b7", "-",
	"\u00a0", " ", "\u2009", " ", "\u202f", " ", "\u00d7", "x", "\u2192", "->", "`", "'",
)

// encodeText puts a text into GSM 03.38 if it can be written so, as it is or with
// plainer punctuation, and into UCS-2 otherwise, and cuts it into segments.
func encodeText(s string) *text {
	s = atMost(strings.ToValidUTF8(s, ""), MaxSegments*gsmPart+1)
	for _, candidate := range []string{s, plainer.Replace(s)} {
		// Unchecked, the codec would send what it can't map as UTF-8.
		if len(encoding.ValidateGSM7String(candidate)) == 0 {
			whole := pdutext.GSM7(candidate).Encode()
			return newText(pdutext.DefaultType, whole, []byte("..."))
		}
	}
	return newText(pdutext.UCS2Type, pdutext.UCS2(s).Encode(), pdutext.UCS2("…").Encode())
}

// atMost cuts off what can't be sent anyway, so that it has no say in the encoding.
func atMost(s string, runes int) string {
	for i := range s {
		if runes--; runes < 0 {
			return s[:i]
		}
	}
	return s
}

// newText cuts a message. What is beyond the last segment gives way to the ellipsis.
func newText(coding pdutext.DataCoding, whole, ellipsis []byte) *text {
	single, part, cut := gsmSingle, gsmPart, cutGSM
	if coding == pdutext.UCS2Type {
		single, part, cut = ucs2Single, ucs2Part, cutUCS2
	}
	if len(whole) <= single {
		return &text{coding: coding, segments: [][]byte{whole}, whole: whole}
	}
	t := &text{coding: coding}
	for rest := whole; len(rest) > 0; {
		n := cut(rest, part)
		if len(t.segments) == MaxSegments-1 && n < len(rest) {
			n = cut(rest, part-len(ellipsis))
			rest = append(rest[:n:n], ellipsis...)
			n = len(rest)
		}
		t.segments = append(t.segments, rest[:n:n])
		t.whole = append(t.whole, rest[:n]...)
		rest = rest[n:]
	}
	return t
}

// cutGSM returns how many of the first limit septets make whole characters.
func cutGSM(b []byte, limit int) int {
	if len(b) <= limit {
		return len(b)
	}
	// Escapes don't follow each other in what was encoded from text.
	if b[limit-1] == gsmEscape {
		limit--
	}
	return limit
}

// cutUCS2 returns how many of the first limit bytes make whole characters: a
// surrogate pair stays together.
func cutUCS2(b []byte, limit int) int {
	if len(b) <= limit {
		return len(b)
	}
	last := rune(b[limit-2])<<8 | rune(b[limit-1])
	if utf16.IsSurrogate(last) && last < 0xDC00 {
		limit -= 2
	}
	return limit
}
