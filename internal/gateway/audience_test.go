package gateway

import (
	"fmt"
	"testing"
)

func TestAudience(t *testing.T) {
	f := start(t)
	f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.target(`{"channel":"webhook","address":"https://b.example/","components":["api","web"],"min_impact":"major"}`)
	f.target(`{"channel":"smtp","address":"ops@example.com","components":["db"]}`)
	f.target(`{"channel":"smtp","address":"dev@example.com","visibility":"private","state":"paused"}`)
	f.target(`{"channel":"smpp","address":"+4915112345678","visibility":"private"}`)
	f.target(`{"channel":"smtp","address":"test@example.com","test":true}`)
	f.target(`{"channel":"smtp","address":"eu@example.com","page":"eu"}`)
	for query, want := range map[string]string{
		"":                                 "4 map[smpp:1 smtp:1 webhook:2]",
		"page=eu":                          "1 map[smtp:1]",
		"page=none":                        "0 map[]",
		"impact=minor":                     "3 map[smpp:1 smtp:1 webhook:1]",
		"components=api":                   "3 map[smpp:1 webhook:2]",
		"components=db,+mail":              "3 map[smpp:1 smtp:1 webhook:1]",
		"components=db&components=web":     "4 map[smpp:1 smtp:1 webhook:2]",
		"visibility=private":               "1 map[smpp:1]",
		"test=true":                        "1 map[smtp:1]",
		"components=api&impact=none&page=": "2 map[smpp:1 webhook:1]",
	} {
		v := f.get("/v1/audience?" + query).want(200)
		if got := fmt.Sprint(v["total"], " ", v["channels"]); got != want {
			t.Errorf("%q counts %s, want %s", query, got, want)
		}
	}
	v := f.get("/v1/audience?components=a,b&impact=minor").want(200)
	if fmt.Sprintln(v["page"], v["components"], v["impact"], v["visibility"], v["test"]) != "default [a b] minor public false\n" {
		t.Errorf("the question comes back as %v", v)
	}
	for query, field := range map[string]string{"impact=bad": "impact", "visibility=bad": "visibility", "test=1": "test"} {
		f.get("/v1/audience?"+query).wantProblem(400, field)
	}
}
