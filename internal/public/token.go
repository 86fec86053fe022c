package public

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// A token is the base64url of version, target and tag. The tag is the first half of
// the HMAC-SHA256 over the rest and the purpose, under which nothing else is signed.
const (
	tokenVersion = 1
	tokenPurpose = "tocsin: end the subscription of this target\x00"

	bodyBytes   = 1 + 8
	tagBytes    = sha256.Size / 2
	tokenLength = (bodyBytes+tagBytes+2)/3*4 - 2 // of which padding would be 2
)

// encoding refuses what another token decodes to.
var encoding = base64.RawURLEncoding.Strict()

// signer makes and reads tokens.
type signer struct {
	key []byte
	old [][]byte
}

func (s *signer) sign(target int64) string {
	body := binary.BigEndian.AppendUint64([]byte{tokenVersion}, uint64(target))
	return encoding.EncodeToString(append(body, tag(s.key, body)...))
}

// read returns whose token this is. It takes as long for any that isn't one of ours:
// all keys are tried, also on what can't be a token.
func (s *signer) read(token []byte) (target int64, ok bool) {
	var raw [bodyBytes + tagBytes]byte
	whole := 0
	if len(token) == tokenLength {
		if n, err := encoding.Decode(raw[:], token); err == nil && n == len(raw) {
			whole = 1
		}
	}
	body, got := raw[:bodyBytes], raw[bodyBytes:]
	match := subtle.ConstantTimeCompare(tag(s.key, body), got)
	for _, key := range s.old {
		match |= subtle.ConstantTimeCompare(tag(key, body), got)
	}
	if whole&match == 0 || body[0] != tokenVersion {
		return 0, false
	}
	target = int64(binary.BigEndian.Uint64(body[1:]))
	return target, target > 0
}

func tag(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(tokenPurpose))
	mac.Write(body)
	return mac.Sum(nil)[:tagBytes]
}
