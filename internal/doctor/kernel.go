package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"strings"

	"github.com/tocsin/tocsin/internal/config"
)

func (x *examination) kernel(context.Context) []Finding {
	var all []Finding
	for _, s := range Settings() {
		found, err := x.System.sysctl(s.Name)
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && s.Optional:
			all = append(all, Finding{Check: s.Name}.skip("this machine has no such firewall"))
		case err != nil:
			all = append(all, Finding{Check: s.Name}.unread(err))
		case s.Name == brokerPort && !brokerHere(x.Config):
			all = append(all, Finding{Check: s.Name}.skip("no broker on this machine"))
		default:
			all = append(all, judgeSetting(s, found))
		}
	}
	return all
}

func judgeSetting(s Setting, found string) Finding {
	f := Finding{
		Check: s.Name, Wanted: s.wanted(), Effect: s.Effect,
		Fix: "install deploy/sysctl.d/60-tocsin.conf, then: sysctl --system",
	}
	found = strings.Join(strings.Fields(found), " ")
	shown := found
	if found == "" {
		shown = "none"
	}
	if !s.enough(found) {
		return f.warn(shown)
	}
	return f.ok(shown)
}

// brokerHere says whether the broker is on this machine, as far as its name tells.
func brokerHere(c *config.Config) bool {
	if c.Queue == config.Embedded {
		return false
	}
	u, err := url.Parse(c.Queue)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
