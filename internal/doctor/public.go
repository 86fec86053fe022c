package doctor

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"github.com/tocsin/tocsin/internal/config"
)

func (x *examination) publicURL(context.Context) []Finding {
	return one(judgePublicURL(x.PublicURL, x.Config))
}

// judgePublicURL is about where links in mails and feeds lead.
func judgePublicURL(at string, c *config.Config) Finding {
	f := Finding{
		Check: "public URL", Wanted: "https:// and a public name",
		Effect: "links in mails (unsubscribe) and feeds lead nowhere for others",
		Fix:    "set public_url to where a proxy with TLS makes the public listener reachable, as in https://status.example.com",
	}
	u, err := url.Parse(at)
	if err != nil || u.User != nil || u.RawQuery != "" {
		f.Effect = "the engine doesn't start"
		return f.fail("not a URL without user and query")
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	inside := host == "localhost" || !strings.Contains(host, ".") && err != nil ||
		err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified() || addr.IsLinkLocalUnicast())
	switch {
	case len(c.SMTP) == 0 && inside:
		return f.ok(at + ", for this machine or network; no mails are sent")
	case inside:
		return f.warn(at)
	case u.Scheme != "https":
		f.Effect = "mail providers offer unsubscribing with one click over https only (RFC 8058)"
		return f.warn(at)
	}
	return f.ok(at)
}
