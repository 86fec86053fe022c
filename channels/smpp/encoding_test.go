package smpp

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fiorix/go-smpp/smpp/encoding"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// extension are the characters that take two septets.
const extension = "\f^{}\\[~]|€"

// read puts segments together as a handset does: each decoded by itself.
func read(t testing.TB, text *text) string {
	t.Helper()
	var b strings.Builder
	for _, s := range text.segments {
		if text.coding == pdutext.UCS2Type {
			part := string(pdutext.UCS2(s).Decode())
			if strings.ContainsRune(part, utf8.RuneError) {
				t.Errorf("a segment is not UCS-2 by itself: %x", s)
			}
			b.WriteString(part)
			continue
		}
		if bad := encoding.ValidateGSM7Buffer(s); len(bad) > 0 {
			t.Errorf("a segment is not GSM 03.38 by itself: %x in %x", bad, s)
		}
		b.Write(pdutext.GSM7(s).Decode())
	}
	return b.String()
}

func TestTextsAreCutIntoSegments(t *testing.T) {
	a := func(n int) string { return strings.Repeat("a", n) }
	u := func(n int) string { return strings.Repeat("ж", n) }
	type lengths = []int
	for name, c := range map[string]struct {
		text   string
		coding pdutext.DataCoding
		want   lengths
	}{
		"GSM 160":              {a(160), pdutext.DefaultType, lengths{160}},
		"GSM 161":              {a(161), pdutext.DefaultType, lengths{153, 8}},
		"GSM 306":              {a(306), pdutext.DefaultType, lengths{153, 153}},
		"GSM 307":              {a(307), pdutext.DefaultType, lengths{153, 153, 1}},
		"GSM ends in an euro":  {a(158) + "€", pdutext.DefaultType, lengths{160}},
		"GSM, euro too much":   {a(159) + "€", pdutext.DefaultType, lengths{153, 8}},
		"UCS-2 70":             {u(70), pdutext.UCS2Type, lengths{140}},
		"UCS-2 71":             {u(71), pdutext.UCS2Type, lengths{134, 8}},
		"UCS-2 134":            {u(134), pdutext.UCS2Type, lengths{134, 134}},
		"emoji at the border":  {u(66) + "😀" + u(10), pdutext.UCS2Type, lengths{132, 24}},
		"emoji before":         {u(65) + "😀" + u(10), pdutext.UCS2Type, lengths{134, 20}},
		"emoji at the end":     {u(68) + "😀", pdutext.UCS2Type, lengths{140}},
		"emoji over the end":   {u(69) + "😀", pdutext.UCS2Type, lengths{134, 8}},
		"typographic, GSM":     {"“It’s” – over…", pdutext.DefaultType, lengths{16}},
		"typographic, UCS-2":   {"„Ошибка“ – ж", pdutext.UCS2Type, lengths{24}},
		"every GSM character":  {"@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ ¡ÄÖÑÜ§¿äöñüà", pdutext.DefaultType, lengths{44}},
		"the extension":        {extension, pdutext.DefaultType, lengths{20}},
		"not UTF-8":            {"a\xff\xfeb", pdutext.DefaultType, lengths{2}},
		"nothing":              {"", pdutext.DefaultType, lengths{0}},
		"French has an ç":      {"reçu", pdutext.UCS2Type, lengths{8}},
		"ten segments":         {a(1530), pdutext.DefaultType, lengths{153, 153, 153, 153, 153, 153, 153, 153, 153, 153}},
		"ten segments, UCS-2":  {u(670), pdutext.UCS2Type, lengths{134, 134, 134, 134, 134, 134, 134, 134, 134, 134}},
		"eleven, an euro cut":  {a(1527-1) + "€" + a(20), pdutext.DefaultType, lengths{153, 153, 153, 153, 153, 153, 153, 153, 153, 152}},
		"no say when cut off":  {a(1531) + "😀", pdutext.DefaultType, lengths{153, 153, 153, 153, 153, 153, 153, 153, 153, 153}},
		"eleven, an emoji cut": {u(668) + "😀" + u(9), pdutext.UCS2Type, lengths{134, 134, 134, 134, 134, 134, 134, 134, 134, 132}},
	} {
		t.Run(name, func(t *testing.T) {
			got := encodeText(c.text)
			var sizes lengths
			for _, s := range got.segments {
				sizes = append(sizes, len(s))
			}
			if got.coding != c.coding || !equal(sizes, c.want) {
				t.Errorf("coding %d, sizes %v; want %d, %v", got.coding, sizes, c.coding, c.want)
			}
			if !bytes.Equal(bytes.Join(got.segments, nil), got.whole) {
				t.Error("whole is not the segments together")
			}
			read(t, got)
		})
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Every character of two septets, at every place around every border.
func TestEscapesAreNeverCut(t *testing.T) {
	for _, r := range extension {
		for border := range 3 {
			for shift := -2; shift <= 2; shift++ {
				text := strings.Repeat("a", 153*(border+1)+shift-1) + string(r) + strings.Repeat("b", 200)
				got := encodeText(text)
				if read(t, got) != text {
					t.Errorf("%q around border %d: the text is not what it was", r, border+1)
				}
				for _, s := range got.segments {
					if len(s) > 153 {
						t.Errorf("%q: a segment of %d septets", r, len(s))
					}
				}
			}
		}
	}
}

func TestWhatIsTooLongEndsInAnEllipsis(t *testing.T) {
	for _, c := range []struct{ fill, ellipsis string }{{"a", "..."}, {"€", "..."}, {"ж", "…"}, {"😀", "…"}} {
		text := strings.Repeat(c.fill, 3000)
		got := encodeText(text)
		all := read(t, got)
		if len(got.segments) != MaxSegments || !strings.HasSuffix(all, c.ellipsis) ||
			!strings.HasPrefix(text, strings.TrimSuffix(all, c.ellipsis)) {
			t.Errorf("%s: %d segments, ends in %q", c.fill, len(got.segments), all[len(all)-8:])
		}
	}
}

// What is put together again is what was cut, and no segment is larger than fits.
func FuzzSegments(f *testing.F) {
	f.Add("a{b}")
	f.Add(strings.Repeat("a", 152) + "€" + strings.Repeat("b", 152) + "[")
	f.Add(strings.Repeat("ж", 66) + "😀" + strings.Repeat("👩‍🚒", 40))
	f.Add("\xff\x1b\x00" + strings.Repeat("^", 900))
	f.Fuzz(func(t *testing.T, s string) {
		got := encodeText(s)
		single, part := 160, 153
		if got.coding == pdutext.UCS2Type {
			single, part = 140, 134
		}
		most := single
		if len(got.segments) > 1 {
			most = part
		}
		for _, segment := range got.segments {
			if len(segment) > most || len(segment) == 0 && len(got.segments) > 1 {
				t.Errorf("a segment of %d bytes; most is %d", len(segment), most)
			}
		}
		if len(got.segments) < 1 || len(got.segments) > MaxSegments {
			t.Fatalf("%d segments", len(got.segments))
		}
		valid := strings.ToValidUTF8(s, "")
		if strings.ContainsRune(valid, utf8.RuneError) {
			return // which can't be told from a character that was cut
		}
		all := read(t, got)
		if all == valid || all == plainer.Replace(valid) {
			return
		}
		cut, short := strings.CutSuffix(all, "...")
		if got.coding == pdutext.UCS2Type {
			cut, short = strings.CutSuffix(all, "…")
		}
		if !short || len(got.segments) != MaxSegments || !strings.HasPrefix(valid, cut) && !strings.HasPrefix(plainer.Replace(valid), cut) {
			t.Errorf("%q became %q", s, all)
		}
	})
}
