package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
)

var errSecret = errors.New("a secret of the target is not whsec_ and base64; replace it")

// signer computes the webhook-signature header of Standard Webhooks 1.0: one
// "v1," and the base64 of HMAC-SHA256 (RFC 2104) over id.timestamp.body for each
// secret, separated by spaces. It is HMAC spelt out because crypto/hmac makes new
// state for each key, and nearly every delivery has its own.
type signer struct {
	sha   hash.Hash
	key   [sha256.BlockSize]byte
	block [sha256.BlockSize]byte
	sum   [sha256.Size]byte
	lead  []byte
}

// sign appends the header's value to dst, or nothing if there are no secrets.
func (s *signer) sign(dst []byte, secrets []string, id string, timestamp, body []byte) ([]byte, error) {
	s.lead = append(append(s.lead[:0], id...), '.')
	s.lead = append(append(s.lead, timestamp...), '.')
	for i, secret := range secrets {
		if err := s.setKey(secret); err != nil {
			return dst, err
		}
		s.begin(0x36)
		s.sha.Write(s.lead)
		s.sha.Write(body)
		inner := s.sha.Sum(s.sum[:0])
		s.begin(0x5c)
		s.sha.Write(inner)
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, "v1,"...)
		dst = base64.StdEncoding.AppendEncode(dst, s.sha.Sum(s.sum[:0]))
	}
	return dst, nil
}

func (s *signer) setKey(secret string) error {
	encoded := strings.TrimPrefix(secret, "whsec_")
	var decoded [2 * sha256.BlockSize]byte
	if encoded == "" || base64.StdEncoding.DecodedLen(len(encoded)) > len(decoded) {
		return errSecret
	}
	key, err := base64.StdEncoding.AppendDecode(decoded[:0], []byte(encoded))
	if err != nil {
		return errSecret
	}
	if len(key) > len(s.key) {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	clear(s.key[:])
	copy(s.key[:], key)
	return nil
}

// begin starts a hash with the key, each byte of it changed by pad.
func (s *signer) begin(pad byte) {
	s.sha.Reset()
	for i, b := range s.key {
		s.block[i] = b ^ pad
	}
	s.sha.Write(s.block[:])
}
