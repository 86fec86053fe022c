package smpp

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

func TestTexts(t *testing.T) {
	for want, change := range map[string]func(*channels.Update) string{
		"[INC-8892] #2 Identified, critical\nLogins fail\nA database node is full.":         func(*channels.Update) string { return "" },
		"[INC-8892] #2 Ursache gefunden, kritisch\nAnmeldung gestört\nEin Knoten ist voll.": func(*channels.Update) string { return "de-AT" },
		// A language may have one of the two only.
		"[INC-8892] #2 Causa identificada, crítico\nFalha no login\nA database node is full.": func(*channels.Update) string { return "pt-BR" },
		"[INC-8892] #2 Identified, critical\nLogins fail\nA  node {{.Title}}.": func(u *channels.Update) string {
			u.Message = "A\t node {{.Title}}."
			return "xx"
		},
		"[INC-8892] TEST #1 Investigating\nauth-api": func(u *channels.Update) string {
			u.Sequence, u.Status, u.Impact, u.Test = 1, incident.Investigating, incident.ImpactNone, true
			u.Title, u.Message = "", ""
			return "en"
		},
		"[INC-8892] #9 Resolved\na, b, c, d, e +2\nAll is well.": func(u *channels.Update) string {
			u.Sequence, u.Status, u.Title, u.Message = 9, incident.Resolved, "", "All is well."
			u.AffectedComponents = strings.Split("abcdefg", "")
			return "en"
		},
		"[INC-8892] #2 Geplant, Wartung\nUmzug": func(u *channels.Update) string {
			u.Status, u.Impact = incident.Scheduled, incident.ImpactMaintenance
			u.Title, u.Message, u.Translations = "Umzug", "Umzug", nil
			return "de"
		},
	} {
		u := sampleUpdate()
		if got := compose(u, change(u)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// Every word that an event may have has a translation in every language.
func TestPhrasesAreComplete(t *testing.T) {
	for tag, p := range languages {
		for _, s := range []incident.Status{incident.Investigating, incident.Identified, incident.Monitoring, incident.Resolved,
			incident.Scheduled, incident.InProgress, incident.Verifying, incident.Completed} {
			if !s.Valid() || p.statuses[s] == "" {
				t.Errorf("%s has no word for %s", tag, s)
			}
		}
		for _, i := range []incident.Impact{incident.ImpactMinor, incident.ImpactMajor, incident.ImpactCritical, incident.ImpactMaintenance} {
			if p.impacts[i] == "" {
				t.Errorf("%s has no word for %s", tag, i)
			}
		}
	}
	if phrasesFor("en").status("new") != "new" || phrasesFor("").impact("huge") != "huge" {
		t.Error("a word of a later version is not shown as it is")
	}
}

func TestCostIsTheNumberOfSegments(t *testing.T) {
	c := &Channel{}
	u := sampleUpdate()
	for want, length := range map[int]int{1: 100, 2: 200, 3: 400, 10: 5000} {
		u.Message = strings.Repeat("x", length)
		p, err := c.Render(u, channels.Variant{Format: "tocsin"})
		if err != nil || c.Cost(p) != want {
			t.Errorf("a message of %d costs %d, %v; want %d", length, c.Cost(p), err, want)
		}
	}
	if _, err := c.Render(u, channels.Variant{Format: "html"}); err == nil {
		t.Error("want an error for a format that does not exist")
	}
	if c.Cost("anything") != 1 {
		t.Error("what is no payload costs nothing")
	}
}
