package egress

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const fewPortsVariable = "TOCSIN_TEST_FEW_PORTS"

// withFewPorts runs the test again in a network of its own, where the kernel has eight
// local ports to give, and says whether this is that run.
func withFewPorts(t *testing.T) bool {
	if os.Getenv(fewPortsVariable) != "" {
		return true
	}
	script := `ip link set lo up && echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range && exec "$0" "$@"`
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "sh", "-c", script,
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), fewPortsVariable+"=1")
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), "--- PASS: "+t.Name()):
	case strings.Contains(string(out), "=== RUN"):
		t.Errorf("with few ports: %v\n%s", err, out)
	default:
		t.Skipf("no network of its own to be had here: %v %s", err, out)
	}
	return false
}

// Where no local port is left for one destination, a dial says so, and says nothing of
// the peer; other destinations, and other addresses to connect from, have theirs. An
// address that this machine has none of the family for is not that.
func TestNoPortIsNoFailureOfThePeer(t *testing.T) {
	if !withFewPorts(t) {
		return
	}
	at := peer(t, "127.0.0.1:30000", untilClosed)
	var said bytes.Buffer
	d := newDialer(t, loopback, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&said, nil)) })
	to := Endpoint{Host: "127.0.0.1", Port: at.Port()}
	var open []*Conn
	for {
		c, err := d.Dial(t.Context(), to, time.Second)
		if errors.Is(err, ErrNoPort) {
			break
		}
		must(t, err)
		if open = append(open, c); len(open) > 8 {
			t.Fatal("there are more ports than eight")
		}
	}
	if _, err := d.Dial(t.Context(), to, time.Second); !errors.Is(err, ErrNoPort) {
		t.Errorf("the second dial without a port: %v", err)
	}
	if d.failing.has(to) || d.PortShortages() != 2 || strings.Count(said.String(), "no local port is left") != 1 {
		t.Errorf("the peer counts as failing: %v; %d shortages; log:\n%s", d.failing.has(to), d.PortShortages(), &said)
	}
	c, err := d.Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: peer(t, "127.0.0.1:30001", untilClosed).Port()}, time.Second)
	must(t, err)
	must(t, c.Close())
	several := newDialer(t, loopback, func(c *Config) {
		c.Source = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9")}
	})
	for range 4 {
		c, err := several.Dial(t.Context(), to, time.Second)
		must(t, err)
		must(t, c.Close())
	}
	if used := d.Budget.Used(); used != len(open) {
		t.Errorf("%d descriptors are in use by %d connections", used, len(open))
	}
	for _, c := range open {
		must(t, c.Close())
	}
	none := netip.MustParseAddrPort("[2001:db8::1]:80")
	if _, err := net.DialTimeout("tcp", none.String(), time.Second); err == nil || noPort(err, none) {
		t.Errorf("without IPv6: %v counts as a want of ports", err)
	}
}
