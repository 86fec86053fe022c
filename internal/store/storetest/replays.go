package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

var replayTests = []test{
	{"what was taken is known until it is too old", testTaken},
	{"what is too old goes as others come", testTakenSwept},
}

func printOf(n int) (print [16]byte) {
	copy(print[:], fmt.Sprintf("print %d", n))
	return print
}

// takenSince lists what is known, each as "source print second"; repeats count once.
func (k *kit) takenSince(since time.Time) string {
	k.Helper()
	var list []string
	k.must(k.Taken(k.ctx, since, func(source string, at time.Time, print [16]byte) {
		list = append(list, fmt.Sprintf("%s %s %v", source, strings.TrimRight(string(print[:]), "\x00"), at.Sub(start)))
	}))
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

func testTaken(k *kit) {
	equal(k, "at first", k.takenSince(start), "")
	for i, at := range []time.Duration{0, time.Second, time.Second, -time.Second} {
		k.must(k.RememberTaken(k.ctx, fmt.Sprintf("s%d", i%2), after(at), printOf(i), after(-time.Hour)))
	}
	k.must(k.RememberTaken(k.ctx, "s1", after(time.Second), printOf(1), after(-time.Hour))) // again
	k.reopen()
	const kept = "s0 print 0 0s, s0 print 2 1s, s1 print 1 1s"
	equal(k, "from a time on", k.takenSince(start), kept)
	equal(k, "after that", k.takenSince(after(-time.Hour)), kept)
}

func testTakenSwept(k *kit) {
	count := func() int { return strings.Count(k.takenSince(after(-time.Hour)), "print") }
	const n = 20
	for i := range n {
		k.must(k.RememberTaken(k.ctx, "s", after(time.Duration(i)*time.Second), printOf(i), start))
	}
	equal(k, "kept", count(), n)
	for i := range n {
		k.must(k.RememberTaken(k.ctx, "s", after(time.Hour), printOf(n+i), after(time.Minute)))
	}
	equal(k, "of the old ones and the new ones", count(), n)
	equal(k, "the old ones", strings.Count(k.takenSince(after(-time.Hour)), " 1h0m0s"), n)
}
