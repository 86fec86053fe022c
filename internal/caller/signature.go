package caller

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxSkew is how far a signed time may be from our clock, in both directions.
const MaxSkew = 5 * time.Minute

// MaxSecrets is how many secrets a source may have at once, so that one can take the
// place of another.
const MaxSecrets = 5

// minSecret is how long a secret must be that is used as it is, in bytes.
const minSecret = 16

// Form is how a sender signs: HMAC-SHA256 over the raw body, in each of them.
type Form string

const (
	// Standard is Standard Webhooks 1.0: webhook-id, webhook-timestamp and the body
	// are signed, joined by dots; webhook-signature has "v1," and base64, more than
	// once while secrets change.
	Standard Form = "standard"
	// GitHub signs the body alone; X-Hub-Signature-256 has "sha256=" and hex. There is
	// no time in it, so a replay can't be told.
	GitHub Form = "github"
	// Grafana signs a Unix time, a colon and the body; X-Grafana-Alerting-Signature has
	// hex, and a header that its user names has the time.
	Grafana Form = "grafana"
)

// Forms lists the forms.
func Forms() []string { return []string{string(Standard), string(GitHub), string(Grafana)} }

// Signature is what a source signs with.
type Signature struct {
	// Form is one of [Forms]; "" asks for no signature.
	Form Form
	// Secrets are 1 to [MaxSecrets] as [Form.CheckSecret] wants them; one of them has
	// to have signed.
	Secrets []string
	// TimestampHeader is the header of the time, for [Grafana] alone, which needs it.
	TimestampHeader string
}

// CheckSecret says what is wrong with a secret, without repeating it. Its errors
// complete the sentence that a key begins.
func (f Form) CheckSecret(secret string) error {
	_, err := f.key(secret)
	return err
}

func (f Form) key(secret string) ([]byte, error) {
	if f != Standard {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("must be at least %d characters", minSecret)
		}
		return []byte(secret), nil
	}
	bad := errors.New("must be whsec_ and the base64 of 24 to 64 random bytes")
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return nil, bad
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) < 24 || len(key) > 64 || strings.ContainsAny(encoded, "\r\n") {
		return nil, bad
	}
	return key, nil
}

// verifier checks signatures of one form.
type verifier struct {
	form      Form
	keys      [][]byte
	header    string // of the signature
	timestamp string // the header of the time; "" signs none
}

func newVerifier(s Signature) (*verifier, error) {
	v := &verifier{form: s.Form, timestamp: s.TimestampHeader}
	switch s.Form {
	case Standard:
		v.header, v.timestamp = "webhook-signature", "webhook-timestamp"
	case GitHub:
		v.header = "X-Hub-Signature-256"
	case Grafana:
		v.header = "X-Grafana-Alerting-Signature"
	default:
		return nil, errors.New("the form of the signature is none of " + strings.Join(Forms(), ", "))
	}
	switch {
	case len(s.Secrets) == 0 || len(s.Secrets) > MaxSecrets:
		return nil, fmt.Errorf("a signature needs 1 to %d secrets", MaxSecrets)
	case s.Form == Grafana && s.TimestampHeader == "":
		return nil, errors.New("a signature of Grafana needs the header of its time")
	case s.Form != Grafana && s.TimestampHeader != "":
		return nil, errors.New("only the form of Grafana has a header of the time to be named")
	}
	for _, secret := range s.Secrets {
		key, err := s.Form.key(secret)
		if err != nil {
			return nil, fmt.Errorf("a secret %w", err)
		}
		v.keys = append(v.keys, key)
	}
	return v, nil
}

type mac [sha256.Size]byte

// claim is what the headers of a request say, before anything of it is known to be
// true.
type claim struct {
	before []byte    // what is signed in front of the body
	macs   []mac     // what was sent
	at     time.Time // zero if no time is signed
}

// Bounds on what is read of headers.
const (
	maxID         = 256
	maxSignatures = 2 * MaxSecrets // those of other versions too
)

// claim reads the headers; why says, for the log, what is wrong with them. A header
// that is there twice is refused: which of them did the sender sign?
func (v *verifier) claim(h http.Header) (c claim, why string) {
	one := func(name string) string {
		if values := h.Values(name); len(values) == 1 {
			return values[0]
		}
		return ""
	}
	signature := one(v.header)
	if signature == "" {
		return c, "there is no signature"
	}
	var ok bool
	if c.macs, ok = v.form.signatures(signature); !ok {
		return c, "the signature is not of the form"
	}
	if v.timestamp == "" {
		return c, ""
	}
	timestamp := one(v.timestamp)
	if c.at, ok = unixTime(timestamp); !ok {
		return c, "the time is missing or no number"
	}
	if v.form == Grafana {
		c.before = []byte(timestamp + ":")
		return c, ""
	}
	id := one("webhook-id")
	if id == "" || len(id) > maxID {
		return c, "the webhook-id is missing or too long"
	}
	// An id with dots could be cut elsewhere, but no other cut leaves a time and a
	// body of JSON.
	c.before = []byte(id + "." + timestamp + ".")
	return c, ""
}

// signatures reads the value of a signature's header.
func (f Form) signatures(text string) ([]mac, bool) {
	if f != Standard {
		if f == GitHub {
			var ok bool
			if text, ok = strings.CutPrefix(text, "sha256="); !ok {
				return nil, false
			}
		}
		var m mac
		if len(text) != hex.EncodedLen(len(m)) {
			return nil, false
		}
		_, err := hex.Decode(m[:], []byte(text))
		return []mac{m}, err == nil
	}
	var all []mac
	seen := 0
	for entry := range strings.SplitSeq(text, " ") {
		if seen++; seen > maxSignatures {
			return nil, false
		}
		encoded, ok := strings.CutPrefix(entry, "v1,")
		if !ok {
			continue // of another version
		}
		var m mac
		if len(encoded) != base64.StdEncoding.EncodedLen(len(m)) {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err == nil && copy(m[:], raw) == len(m) && len(raw) == len(m) {
			all = append(all, m)
		}
	}
	return all, len(all) > 0
}

// unixTime reads seconds since 1970 in digits alone.
func unixTime(text string) (time.Time, bool) {
	if len(text) > 12 || strings.Trim(text, "0123456789") != "" {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// fresh says whether a signed time is near enough to now.
func fresh(at, now time.Time) bool { return now.Sub(at).Abs() <= MaxSkew }

// holds says whether one of the keys made one of the signatures. It takes the same
// time whichever did.
func (v *verifier) holds(c *claim, body []byte) bool {
	match := false
	for _, key := range v.keys {
		h := hmac.New(sha256.New, key)
		h.Write(c.before)
		h.Write(body)
		own := h.Sum(nil)
		for _, sent := range c.macs {
			match = hmac.Equal(own, sent[:]) || match
		}
	}
	return match
}

// print is of what was signed, with whichever key: a replay that leaves out one of two
// signatures has the same, and one that comes after the keys were changed.
func (c *claim) print(body []byte) (f fingerprint) {
	h := sha256.New()
	h.Write(c.before)
	h.Write(body)
	copy(f[:], h.Sum(nil))
	return f
}

// HeaderName says whether text may name a header (RFC 9110, section 5.1).
func HeaderName(text string) bool {
	const others = "!#$%&'*+-.^_`|~"
	return text != "" && len(text) <= 128 && !slices.ContainsFunc([]byte(text), func(b byte) bool {
		return (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && strings.IndexByte(others, b) < 0
	})
}
