package gateway

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// The live page: a document without data, which reads the stream. Style and script
// are put into it, so that what is loaded is of one piece, and nothing else is.
var (
	//go:embed live.html
	livePage string
	//go:embed live.css
	liveStyle string
	//go:embed live.js
	liveScript string
)

// newLivePage returns the handler of the live page. Its policy lets it load
// nothing, run this script alone, make elements from no text (trusted types),
// talk to this listener alone, and be framed by nobody.
func newLivePage() handler {
	page := []byte(strings.NewReplacer("{{style}}", liveStyle, "{{script}}", liveScript).Replace(livePage))
	policy := strings.Join([]string{
		"default-src 'none'", "connect-src 'self'", "img-src data:",
		"style-src " + hashSource(liveStyle), "script-src " + hashSource(liveScript),
		"require-trusted-types-for 'script'", "trusted-types 'none'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		writeBody(w, http.StatusOK, page)
		return nil
	}
}

// hashSource names an inline text in a Content-Security-Policy (CSP 3, §2.3.1).
func hashSource(text string) string {
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}
