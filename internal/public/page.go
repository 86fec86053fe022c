package public

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/incident"
)

// Subscription is what a page says of a target.
type Subscription struct {
	Page    string // the status page
	Channel string // one of the incident.Channel constants
	Address string // as much of it as whoever has the link may see
	Ended   bool   // already unsubscribed
}

// Describe returns what a page says of t: of the address just so much that its owner
// knows it, since links get forwarded.
func Describe(t *incident.Target) Subscription {
	return Subscription{Page: t.Page, Channel: t.Channel, Address: mask(t.Channel, t.Address),
		Ended: t.State == incident.StateUnsubscribed}
}

func mask(channel, address string) string {
	const hidden = "…"
	switch channel {
	case incident.ChannelSMTP:
		local, domain, _ := strings.Cut(address, "@")
		first, size := utf8.DecodeRuneInString(local)
		if size == len(local) { // one letter would be all of it
			return hidden + "@" + domain
		}
		return string(first) + hidden + "@" + domain
	case incident.ChannelSMPP:
		return "+" + hidden + address[max(0, len(address)-2):]
	case incident.ChannelWebhook, incident.ChannelWebSub:
		_, rest, _ := strings.Cut(address, "://")
		host, _, _ := strings.Cut(rest, "/")
		host, _, _ = strings.Cut(host, "?")
		return host[strings.LastIndexByte(host, '@')+1:]
	}
	return address
}

// text is what a page says.
type text struct {
	Title string
	// Of is the subscription in question, if that is for the guest to know; Before
	// and After stand around its description.
	Of            *Subscription
	Before, After string
	Ask           bool // with the button
}

var (
	nothingHere = text{Title: "There is nothing here",
		Before: "If you came by a link from a message, it may have been cut off on its way, or the subscription may be gone. " +
			"Please try the link of a newer message."}
	notAllowed  = text{Title: "That can't be done here", Before: "Open the link in a browser."}
	notSaid     = text{Title: "Nothing has changed", Before: "The request did not say that the subscription is to end. Open the link in a browser and use the button."}
	tooMany     = text{Title: "Too many requests", Before: "Nothing has changed. Please try again in a moment."}
	unavailable = text{Title: "Please try again", Before: "Your request could not be carried out just now. Please try again in a minute."}
	failed      = text{Title: "Something failed here", Before: "Please try again later."}
)

func question(s Subscription) text {
	return text{Title: "Unsubscribe?", Of: &s, Before: "This would end", After: "Nothing has changed yet.", Ask: true}
}

func ended(s Subscription) text {
	return text{Title: "You are unsubscribed", Of: &s, Before: "This has ended:",
		After: "A message that is on its way may still arrive. You can close this page."}
}

// Way names the channel in a sentence.
func (s *Subscription) Way() string {
	switch s.Channel {
	case incident.ChannelSMTP:
		return "by e-mail"
	case incident.ChannelSMPP:
		return "by text message"
	}
	return "by " + s.Channel
}

const pageStyle = `
:root { color-scheme: light dark; }
body { font: 1.125rem/1.6 system-ui, sans-serif; margin: 0; padding: 2rem 1rem; }
main { max-width: 36rem; margin: 0 auto; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; }
button { font: inherit; font-weight: 600; padding: .6em 1.4em; border: 2px solid; border-radius: .4em; background: none; color: inherit; cursor: pointer; }
button:hover { text-decoration: underline; }
button:focus-visible { outline: 3px solid; outline-offset: 3px; }
`

// The form has no action: it goes to the page's own address, also behind a proxy
// that adds a path.
const pageTemplate = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Before}}{{with .Of}} status updates of the page <strong>{{.Page}}</strong> {{.Way}} to <strong>{{.Address}}</strong>.{{end}}</p>
{{with .After}}<p>{{.}}</p>
{{end}}{{if .Ask}}<form method="post">
<button type="submit" name="` + clickName + `" value="` + clickValue + `">Unsubscribe</button>
</form>
{{end}}</main>
</body>
</html>
`

// contentPolicy lets a page load nothing, run nothing and be framed by nobody; its
// style is known by its hash.
func contentPolicy() string {
	hash := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// answer writes a page. Its URL is a secret of the guest's, so no one may keep, index
// or pass it on.
func (h *Handler) answer(ctx *fasthttp.RequestCtx, status int, t text) {
	var body bytes.Buffer
	if err := h.template.Execute(&body, t); err != nil {
		h.Log.Error("a page of the public listener can't be made; this is a defect, please report it", "error", err)
		status = http.StatusInternalServerError
		body.Reset()
	}
	ctx.Response.SetStatusCode(status)
	header := &ctx.Response.Header
	header.SetContentType("text/html; charset=utf-8")
	header.Set("Content-Security-Policy", h.policy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Robots-Tag", "noindex")
	header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.SetBody(body.Bytes())
}
