package peer

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxTargets is how many targets have an address of their own.
const MaxTargets = 1<<24 - 1<<17

// firstHost is 127.1.0.0: the addresses below it are left to others.
const firstHost = 127<<24 | 1<<16

// Host returns the loopback address of target n, 1 to [MaxTargets]: 127.1.0.1
// and up. To the engine each is a provider of its own.
func Host(n int) netip.Addr {
	a := uint32(firstHost + n)
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// MaxShared is how many addresses there are that many targets can share.
const MaxShared = 1<<16 - 1<<8 - 1

// SharedHost returns loopback address n, 1 to [MaxShared], of those that are no
// target's own: 127.0.1.1 and up. A peer takes requests to any target there.
func SharedHost(n int) netip.Addr {
	const first = 127<<24 | 1<<8
	a := uint32(first + n)
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// numberOf returns the target whose address a is, 0 for none.
func numberOf(a netip.Addr) int {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	n := (int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])) - firstHost
	if n < 1 || n > MaxTargets {
		return 0
	}
	return n
}

// TargetURL returns the webhook URL of target n behind port.
func TargetURL(n, port int) string {
	return fmt.Sprintf("http://%s:%d/t/%d", Host(n), port, n)
}

// TargetNumber reads the number from what [TargetURL] made, or from its path
// alone; 0 if it is none.
func TargetNumber(url string) int {
	_, digits, _ := strings.Cut(url, "/t/")
	return numbered(digits)
}

// numbered reads the number of a target, 0 if it is none.
func numbered(digits string) int {
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n > MaxTargets {
		return 0
	}
	return int(n)
}

const feedPrefix = "feed-"

// FeedName returns the address of target n, a feed.
func FeedName(n int) string { return feedPrefix + strconv.Itoa(n) }

// FeedTarget reads the target from what [FeedName] made; 0 if it is none.
func FeedTarget(name string) int {
	digits, ok := strings.CutPrefix(name, feedPrefix)
	if !ok {
		return 0
	}
	return numbered(digits)
}

// FeedURL returns where feed n of a page is read below base: Atom, RSS and JSON by
// turns.
func FeedURL(base, page string, n int) string {
	formats := [...]string{"atom", "rss", "json"}
	return fmt.Sprintf("%s/feeds/%s/%s.%s", base, page, FeedName(n), formats[n%len(formats)])
}
