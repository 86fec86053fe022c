package incident

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// address checks the shape that the channel asks for and returns the address as
// it will be compared and used. Reasons never repeat it.
func address(channel, s string) (clean, reason string) {
	s = strings.TrimFunc(s, blank)
	switch channel {
	case ChannelSMTP:
		return mailbox(s)
	case ChannelSMPP:
		return phoneNumber(s)
	case ChannelRSS:
		return token(s, false)
	}
	return httpURL(s)
}

// httpURL takes an absolute http or https URL. Which hosts and ports may be dialled
// is decided when registering and again when connecting, elsewhere.
func httpURL(s string) (clean, reason string) {
	if s, _, reason = parseURL(s); reason != "" {
		return "", reason
	}
	return s, ""
}

// linkURL takes a URL for people to click on, or to call back. User and password in
// it are refused: they serve to make one host look like another.
func linkURL(s string) (clean, reason string) {
	s, u, reason := parseURL(strings.TrimFunc(s, blank))
	switch {
	case reason != "":
		return "", reason
	case u.User != nil:
		return "", "must not have a user or password"
	}
	return s, ""
}

func parseURL(s string) (string, *url.URL, string) {
	switch {
	case s == "":
		return "", nil, required
	case len(s) > maxURL:
		return "", nil, "must be at most 2048 bytes"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }):
		return "", nil, "must not have spaces, line breaks, control or invisible characters"
	}
	u, err := url.Parse(s)
	// The error of url.Parse repeats the URL, tokens and all, so it stays here.
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil, "must be an absolute http or https URL with a host"
	}
	return s, u, ""
}

// mailbox takes a bare addr-spec with a dot-atom on either side (RFC 5322, section
// 3.4.1) within the limits of RFC 5321, section 4.5.3.1. The domain is lower-cased,
// the local part is the receiver's business.
func mailbox(s string) (clean, reason string) {
	const refusal = "must be one bare mailbox such as ops@example.com"
	local, domain, found := strings.Cut(s, "@")
	switch {
	case !found || strings.Contains(domain, "@"):
		return "", refusal
	case len(local) > 64 || len(domain) > 253:
		return "", refusal + ", at most 64 bytes before the @ and 253 after it"
	case !dotAtom(local):
		return "", refusal + ", without quotes, comments, spaces or non-ASCII characters, not beginning with - or a dot"
	case !domainName(domain):
		return "", refusal + ", with a domain name (punycode if international) that has a dot, not an IP address"
	}
	return local + "@" + strings.ToLower(domain), ""
}

// dotAtom refuses a leading "-" besides, which a sendmail command line would take
// for an option.
func dotAtom(local string) bool {
	if strings.HasPrefix(local, "-") {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return !asciiAlnum(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	return true
}

func domainName(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !asciiAlnum(r) && r != '-' }) {
			return false
		}
	}
	top := labels[len(labels)-1]
	return len(labels) > 1 && strings.Trim(top, "0123456789") != ""
}

// phoneNumber takes an E.164 number with its plus sign, without separators.
func phoneNumber(s string) (clean, reason string) {
	digits, plus := strings.CutPrefix(s, "+")
	if !plus || len(digits) < 7 || len(digits) > 15 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return "", "must be an E.164 number: + and 7 to 15 digits, beginning with the country code"
	}
	return s, ""
}

// ValidSecret reports whether s is a secret of Standard Webhooks 1.0: "whsec_" and
// the base64 of 24 to 64 bytes. Encoding again catches
// what the decoder forgives: line breaks and stray bits.
func ValidSecret(s string) bool {
	encoded, ok := strings.CutPrefix(s, "whsec_")
	if !ok || len(encoded) > base64.StdEncoding.EncodedLen(64) {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && len(key) >= 24 && len(key) <= 64 && base64.StdEncoding.EncodeToString(key) == encoded
}
