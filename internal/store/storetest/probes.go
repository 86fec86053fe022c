package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

var probeTests = []test{
	{"the state of a service is the one saved last", testServices},
	{"what is saved together is there together", testServicesTogether},
}

func (k *kit) services() (text string) {
	k.Helper()
	states, err := k.ServiceStates(k.ctx)
	k.must(err)
	for _, name := range slices.Sorted(maps.Keys(states)) {
		text += fmt.Sprintf("%s=%s ", name, states[name])
	}
	return text
}

func testServices(k *kit) {
	equal(k, "at first", k.services(), "")
	k.must(k.SaveServices(k.ctx, nil))
	k.must(k.SaveServices(k.ctx, map[string][]byte{"api": []byte("1"), "web 'ü'": []byte("2")}))
	k.must(k.SaveServices(k.ctx, map[string][]byte{"api": []byte("3"), "API": []byte("4")}))
	k.reopen()
	equal(k, "saved", k.services(), "API=4 api=3 web 'ü'=2 ")
	k.must(k.SaveServices(k.ctx, map[string][]byte{"api": nil, "gone": nil, "new": []byte("5")}))
	k.reopen()
	equal(k, "forgotten", k.services(), "API=4 new=5 web 'ü'=2 ")
}

func testServicesTogether(k *kit) {
	ended, cancel := context.WithCancel(k.ctx)
	cancel()
	if err := k.SaveServices(ended, map[string][]byte{"api": []byte("1")}); err == nil {
		k.Error("saved for nobody")
	}
	states := make(map[string][]byte)
	for i := range 500 {
		states[fmt.Sprintf("service-%03d", i)] = fmt.Appendf(nil, "%d", i)
	}
	k.must(k.SaveServices(k.ctx, states))
	k.reopen()
	saved, err := k.ServiceStates(k.ctx)
	k.must(err)
	if !maps.EqualFunc(saved, states, slices.Equal) {
		k.Errorf("%d services are there, not the %d", len(saved), len(states))
	}
}
