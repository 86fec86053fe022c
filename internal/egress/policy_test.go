package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func newPolicy(t testing.TB, r Rules) *Policy {
	t.Helper()
	p, err := NewPolicy(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddressesThatAreNotPublicAreBlocked(t *testing.T) {
	p := newPolicy(t, Rules{})
	for _, addr := range []string{
		"127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "fd00:ec2::254", "fc00::1", "fe80::1", "febf::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1",
		"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:1ff::1",
		"fec0::1", "100::1", "5f00::1", "2001:db8::1", "3fff::1", "3fff:fff::1", "4000::1",
		"100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.171", "192.0.2.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1",
		"192.31.196.1", "192.52.193.1", "192.175.48.1",
		"240.0.0.1", "224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "255.255.255.255",
		"168.63.129.16", "2001:db8::1%eth0", "2a00:1450::1%1",
	} {
		if err := p.CheckAddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 443)); err != ErrBlocked {
			t.Errorf("%s: %v; want it blocked", addr, err)
		}
	}
	for _, addr := range []string{
		"8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1",
		"192.0.1.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17", "::ffff:8.8.8.8",
		"2001:200::1", "2001:4860:4860::8888", "2a00:1450:4001::1", "2606:4700::1111", "3ffe::1", "2003::1",
	} {
		if err := p.CheckAddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 443)); err != nil {
			t.Errorf("%s: %v; want it allowed", addr, err)
		}
	}
	if p.CheckAddr(netip.AddrPort{}) != ErrBlocked || p.CheckAddr(netip.MustParseAddrPort("8.8.8.8:0")) != ErrBlocked {
		t.Error("no address and port 0 must be blocked")
	}
}

func TestRulesOfTheOperator(t *testing.T) {
	p := newPolicy(t, Rules{
		Allow: []string{"127.0.0.0/8", "10.0.0.0/8:8443", "[fd00::/8]:443", "192.168.7.7", "2001:db8::/32"},
		Deny:  []string{"127.0.0.9", "8.8.8.0/24:443", "1.1.1.1:80"},
		Own:   []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("9.9.9.9:5672")},
	})
	for to, allowed := range map[string]bool{
		"127.0.0.1:9000":          true,
		"[::ffff:127.0.0.1]:9000": true,
		"127.0.0.1:8080":          false, // ours
		"[::ffff:127.0.0.1]:8080": false,
		"127.0.0.2:8080":          true,
		"127.0.0.9:9000":          false, // denied although allowed
		"10.1.2.3:8443":           true,
		"10.1.2.3:443":            false,
		"[fd00::1]:443":           true,
		"[fd00::1]:80":            false,
		"192.168.7.7:1":           true,
		"192.168.7.8:1":           false,
		"[2001:db8::5]:443":       true,
		"8.8.8.8:443":             false,
		"8.8.8.8:80":              true,
		"1.1.1.1:80":              false,
		"1.1.1.1:443":             true,
		"9.9.9.9:5672":            false,
		"9.9.9.9:443":             true,
	} {
		if err := p.CheckAddr(netip.MustParseAddrPort(to)); (err == nil) != allowed {
			t.Errorf("%s: %v; want allowed = %t", to, err, allowed)
		}
	}
}

func TestAListenerOnAllAddressesIsOursOnEach(t *testing.T) {
	for _, own := range []string{"0.0.0.0:8080", "[::]:8080"} {
		p := newPolicy(t, Rules{Allow: []string{"0.0.0.0/0", "::/0"}, Own: []netip.AddrPort{netip.MustParseAddrPort(own)}})
		p.local = append(p.local, netip.MustParseAddr("8.8.4.4")) // has no effect on rules already made
		targets := []string{"127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080", "0.0.0.0:8080", "[::]:8080"}
		for _, a := range p.local[:len(p.local)-1] {
			targets = append(targets, netip.AddrPortFrom(a, 8080).String())
		}
		for _, to := range targets {
			if p.CheckAddr(netip.MustParseAddrPort(to)) != ErrBlocked {
				t.Errorf("own %s: %s is allowed", own, to)
			}
		}
		if err := p.CheckAddr(netip.MustParseAddrPort("127.0.0.1:8081")); err != nil {
			t.Errorf("own %s: another port is blocked", own)
		}
	}
}

func TestAddressesOfThisMachineAreBlockedUnlessAllowed(t *testing.T) {
	p, q := newPolicy(t, Rules{}), newPolicy(t, Rules{Allow: []string{"8.8.4.4"}})
	p.local = []netip.Addr{netip.MustParseAddr("8.8.4.4")}
	q.local = p.local
	to := netip.MustParseAddrPort("8.8.4.4:443")
	if p.CheckAddr(to) != ErrBlocked || q.CheckAddr(to) != nil {
		t.Error("want our own public address blocked, unless it is allowed")
	}
}

func TestRulesAreRefusedWithAdvice(t *testing.T) {
	for rule, advice := range map[string]string{
		"":                   "is not a CIDR",
		"localhost":          "is not a CIDR",
		"10.0.0.0/33":        "is not a CIDR",
		"10.1.2.3/8":         "write 10.0.0.0/8",
		"10.0.0.0/8:":        "port",
		"10.0.0.0/8:0":       "port",
		"10.0.0.0/8:99999":   "port",
		"10.0.0.0/8:+80":     "port",
		"[fd00::/8":          "is not a CIDR",
		"[fd00::/8]443":      "is not a CIDR",
		"[fd00::/8]:":        "port",
		"fe80::1%eth0":       "is not a CIDR",
		"::ffff:10.0.0.0/96": "is not a CIDR",
		"10.0.0.0/8 ":        "is not a CIDR",
	} {
		_, err := NewPolicy(Rules{Deny: []string{"127.0.0.1", rule}})
		if err == nil {
			t.Errorf("%q is taken", rule)
			continue
		}
		if !strings.Contains(err.Error(), advice) || !strings.HasPrefix(err.Error(), "deny[1]: ") {
			t.Errorf("%q: %v; want deny[1] and %q", rule, err, advice)
		}
	}
	for _, port := range []int{0, -1, 65536} {
		if _, err := NewPolicy(Rules{Ports: []int{443, port}}); err == nil {
			t.Errorf("port %d is taken", port)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8:8443", "[fd00::/8]:443", "::1", "127.0.0.1:80", "["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRule(text)
		if err == nil && (!r.prefix.IsValid() || r.prefix != r.prefix.Masked() || r.prefix.Addr().Is4In6()) {
			t.Errorf("%q gives %v", text, r)
		}
		if err != nil && errors.Is(err, ErrBlocked) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
