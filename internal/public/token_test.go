package public

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"math"
	"strings"
	"testing"
)

var (
	keyA = bytes.Repeat([]byte{'a'}, keyBytes)
	keyB = bytes.Repeat([]byte{'b'}, keyBytes)
	keyC = bytes.Repeat([]byte{'c'}, 64)
)

func TestTokensAreReadBack(t *testing.T) {
	s := signer{key: keyA}
	seen := make(map[string]bool)
	for _, target := range []int64{1, 2, 255, 256, 1 << 40, math.MaxInt64} {
		token := s.sign(target)
		if len(token) != tokenLength || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Errorf("target %d has the token %q", target, token)
		}
		if got, ok := s.read([]byte(token)); !ok || got != target {
			t.Errorf("token of %d is read as %d, %v", target, got, ok)
		}
		if token != s.sign(target) || seen[token] {
			t.Errorf("target %d: tokens differ by time, or don't by target", target)
		}
		seen[token] = true
	}
}

// A token that was handed out must stay good: this one is of the first version.
func TestTokensStayGood(t *testing.T) {
	const token = "AQAAAAAAAAAq5YtbdVa7xgSAalSkeZhDkQ"
	if got, ok := (&signer{key: keyA}).read([]byte(token)); !ok || got != 42 {
		t.Errorf("read as %d, %v; now it would be %s", got, ok, (&signer{key: keyA}).sign(42))
	}
}

func TestKeysRotate(t *testing.T) {
	token := []byte((&signer{key: keyA}).sign(7))
	for name, c := range map[string]struct {
		s    signer
		good bool
	}{
		"retired": {signer{key: keyB, old: [][]byte{keyC, keyA}}, true},
		"gone":    {signer{key: keyB, old: [][]byte{keyC}}, false},
		"another": {signer{key: keyB}, false},
	} {
		if _, ok := c.s.read(token); ok != c.good {
			t.Errorf("%s key: %v", name, ok)
		}
	}
	if s := (signer{key: keyB, old: [][]byte{keyA}}); s.sign(7) == string(token) {
		t.Error("signed with a retired key")
	}
}

func TestForgedTokens(t *testing.T) {
	s := signer{key: keyA, old: [][]byte{keyB}}
	good := s.sign(7)
	raw, err := encoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 {
		forged := bytes.Clone(raw)
		forged[bit/8] ^= 1 << (bit % 8)
		if _, ok := s.read([]byte(encoding.EncodeToString(forged))); ok {
			t.Errorf("bit %d may be changed", bit)
		}
	}
	// The last character carries bits that mean nothing: they have to be 0.
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if other := good[:tokenLength-1] + string(c); other != good {
			if _, ok := s.read([]byte(other)); ok {
				t.Errorf("%q is good as well", other)
			}
		}
	}
	for name, token := range map[string]string{
		"nothing": "", "cut off": good[:tokenLength-1], "too long": good + "A", "padded": good + "==", "twice": good + good,
		"line break": good[:10] + "\r\n" + good[10:], "line break inside": good[:10] + "\n" + good[11:],
		"other alphabet":  strings.Repeat("+", tokenLength),
		"zeros":           strings.Repeat("A", tokenLength),
		"no key":          (&signer{}).sign(7),
		"target 0":        s.sign(0),
		"negative target": s.sign(-7),
		"tag of zeros":    encoding.EncodeToString(append(bytes.Clone(raw[:bodyBytes]), make([]byte, tagBytes)...)),
	} {
		if target, ok := s.read([]byte(token)); ok {
			t.Errorf("%s: read as %d", name, target)
		}
	}
}

// The same key signs other things: those are no tokens.
func TestOtherPurposesAndVersions(t *testing.T) {
	s := signer{key: keyA}
	body := []byte{tokenVersion, 0, 0, 0, 0, 0, 0, 0, 7}
	mac := hmac.New(sha256.New, keyA)
	mac.Write(append([]byte("tocsin: something else\x00"), body...))
	if _, ok := s.read([]byte(encoding.EncodeToString(append(bytes.Clone(body), mac.Sum(nil)[:tagBytes]...)))); ok {
		t.Error("a tag of another purpose is good")
	}
	later := []byte{tokenVersion + 1, 0, 0, 0, 0, 0, 0, 0, 7}
	if _, ok := s.read([]byte(encoding.EncodeToString(append(later, tag(keyA, later)...)))); ok {
		t.Error("a later version is taken for this one")
	}
}

// FuzzToken wants every token that is read to be the very one we sign.
func FuzzToken(f *testing.F) {
	s := signer{key: keyA, old: [][]byte{keyB}}
	f.Add(s.sign(1))
	f.Add((&signer{key: keyB}).sign(math.MaxInt64))
	f.Add((&signer{key: keyC}).sign(1))
	f.Add("")
	f.Add(strings.Repeat("A", tokenLength))
	f.Fuzz(func(t *testing.T, token string) {
		target, ok := s.read([]byte(token))
		if ok && (target <= 0 || token != s.sign(target) && token != (&signer{key: keyB}).sign(target)) {
			t.Errorf("%q is read as %d", token, target)
		}
	})
}
