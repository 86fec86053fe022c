package lifecycle

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// detailed is a signal with public details; the smaller n the older.
func detailed(n int, details map[string]string) Signal {
	s := firingSignal(n)
	s.PublicDetails = details
	return s
}

// TestPublicDetails follows what an incident says of its signals' details to its end.
func TestPublicDetails(t *testing.T) {
	now := epoch.Add(time.Hour)
	wants := func(what string, decisions []Decision, want map[string]string) {
		t.Helper()
		if len(decisions) != 1 || !maps.Equal(decisions[0].Event.PublicDetails, want) {
			t.Fatalf("%s: %s, not with %v", what, said(decisions), want)
		}
	}
	young := detailed(2, map[string]string{"code": "E-2", "zone": "b"})
	old := detailed(1, map[string]string{"code": "E-9", "endpoint": "POST /v1/login"})
	hidden := detailed(0, map[string]string{"code": "hidden", "host": "hidden"})
	hidden.Mark = MarkPrivate
	c, decisions := stepWith(t, NewCase("default", "g"), now, young, hidden, old)
	both := map[string]string{"code": "E-9, E-2", "endpoint": "POST /v1/login", "zone": "b"}
	wants("opened", decisions, both)

	// Other details alone are no news, and are told with the next that is.
	other := young
	other.PublicDetails = map[string]string{"code": "E-9"}
	c, decisions = stepWith(t, restored(t, c), now.Add(time.Minute), other, hidden, old)
	if len(decisions) != 0 {
		t.Fatalf("details alone make %s", said(decisions))
	}
	third := detailed(3, map[string]string{"code": "E-3"})
	c, decisions = stepWith(t, restored(t, c), now.Add(2*time.Minute), other, hidden, old, third)
	told := map[string]string{"code": "E-9, E-3", "endpoint": "POST /v1/login"}
	wants("changed", decisions, told)

	// The end repeats what was told, after a restart too.
	c, decisions = stepWith(t, restored(t, c), now.Add(3*time.Minute), hidden)
	wants("resolved", decisions, told)
	c = restored(t, c)
	c, decisions = Due(c, c.DueAt, DefaultRules())
	// What is for a private audience becomes an incident of its own.
	if len(decisions) == 0 {
		t.Fatal("nothing is completed")
	}
	wants("completed", decisions[:1], told)
	wants("private", decisions[1:], map[string]string{"code": "hidden", "host": "hidden"})

	// The next incident has nothing of the last.
	c, _ = stepWith(t, restored(t, c), now.Add(2*time.Hour))
	_, decisions = stepWith(t, restored(t, c), now.Add(3*time.Hour), detailed(4, nil))
	wants("opened again", decisions[len(decisions)-1:], nil)
}

// restored is the case after a restart.
func restored(t *testing.T, c *Case) *Case {
	t.Helper()
	state, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = ParseCase(state); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPublicDetailsAreBounded(t *testing.T) {
	var all []Signal
	for i := range 200 {
		details := map[string]string{"code": strings.Repeat("ü", i) + fmt.Sprint(i), "same": "a\nb\u2028\u202e" + strings.Repeat("c", 1000)}
		for n := range 6 {
			details[fmt.Sprintf("%d of %d", n, i)] = "\u200b" // says nothing once it is clean
			details[fmt.Sprintf("%d from %d", n, i)] = fmt.Sprint(n)
		}
		all = append(all, detailed(i, details))
	}
	c, decisions := stepWith(t, NewCase("default", "g"), epoch.Add(time.Hour), all...)
	told := decisions[0].Event.PublicDetails
	if len(told) != MaxPublicDetails || !strings.HasPrefix(told["code"], "0, ü1, üü2, ") || len(told["code"]) > maxPublicValue ||
		!strings.HasPrefix(told["same"], "a b c") || len(told["same"]) > maxPublicValue || told["5 from 0"] != "5" {
		t.Errorf("told are %d: %q", len(told), told)
	}
	if state, err := c.Encode(); err != nil || len(state) > 200<<10 {
		t.Errorf("the state has %d bytes, %v", len(state), err)
	}
	if _, decisions := stepWith(t, c, epoch.Add(2*time.Hour), all...); len(decisions) > 0 {
		t.Errorf("the same again: %s", said(decisions))
	}
}

func TestPublicDetailsThatCantBe(t *testing.T) {
	many := make(map[string]string)
	for i := range MaxPublicDetails + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, details := range map[string]map[string]string{
		"too many": many, "no name": {" ": "x"}, "two lines": {"a\nb": "x"}, "too long": {strings.Repeat("x", 65): "x"},
	} {
		r := &Report{Source: "test", Page: "default", Group: "g", Signals: []Signal{detailed(1, details)}}
		if invalid, ok := errors.AsType[*incident.Invalid](r.Check()); !ok || !strings.HasPrefix(invalid.Field, "public_details") {
			t.Errorf("%s: %v", name, invalid)
		}
	}
}
