package channels

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

func TestText(t *testing.T) {
	own := incident.Translation{Title: "Logins fail", Message: "A node is full."}
	all := map[string]incident.Translation{
		"de":    {Title: "Anmeldung gestört", Message: "Ein Knoten ist voll."},
		"pt-BR": {Title: "Falha no login"},
		"pt":    {Title: "Falha de autenticação", Message: "Um nó está cheio."},
		"fr":    {Message: "Un nœud est plein."},
	}
	u := &Update{Title: own.Title, Message: own.Message, Translations: all}
	e := &TimelineEntry{Title: own.Title, Message: own.Message, Translations: all}
	for locale, want := range map[string]incident.Translation{
		"": own, "en": own, "-": own, "DE": own,
		"de": all["de"], "de-AT": all["de"], "de-Latn-AT": all["de"],
		"pt-PT": all["pt"], "pt-BR": {Title: "Falha no login", Message: "Um nó está cheio."},
		"fr": {Title: "Logins fail", Message: "Un nœud est plein."},
	} {
		if got := u.Text(locale); got != want {
			t.Errorf("%q: %+v; want %+v", locale, got, want)
		}
		if got := e.Text(locale); got != want {
			t.Errorf("timeline, %q: %+v; want %+v", locale, got, want)
		}
	}
	if got := slices.Collect(Locales("zh-Hant-TW")); !slices.Equal(got, []string{"zh-Hant-TW", "zh-Hant", "zh"}) {
		t.Errorf("%q", got)
	}
	// The examples of RFC 4647, section 3.4, and an extension's singleton.
	for locale, want := range map[string]string{
		"zh-Hant-CN-x-private1-private2": "zh-Hant-CN-x-private1-private2 zh-Hant-CN-x-private1 zh-Hant-CN zh-Hant zh",
		"de-CH-u-co-phonebk":             "de-CH-u-co-phonebk de-CH-u-co de-CH de",
	} {
		if got := strings.Join(slices.Collect(Locales(locale)), " "); got != want {
			t.Errorf("%q: %q", locale, got)
		}
	}
}

func TestRecent(t *testing.T) {
	u := new(Update)
	if got := u.Recent("de"); len(got) != 0 {
		t.Errorf("%d entries of nothing", len(got))
	}
	for i := range 5000 {
		u.Timeline = append(u.Timeline, TimelineEntry{Sequence: 5000 - i, Message: "own",
			Translations: map[string]incident.Translation{"de": {Message: "eigen"}}})
	}
	got := u.Recent("de")
	if len(got) != MaxRecent || got[0].Sequence != 5000 || got[0].Message != "eigen" || got[0].Translations != nil {
		t.Errorf("%d entries, the first is %+v", len(got), got[0])
	}
	if u.Timeline[0].Message != "own" || u.Timeline[0].Translations == nil {
		t.Error("the shared update was changed")
	}
	quarter := strings.Repeat("m", MaxRecentText/4)
	for i := range u.Timeline {
		u.Timeline[i].Message = quarter
	}
	if n := len(u.Recent("")); n != 4 {
		t.Errorf("%d entries", n)
	}
	u.Timeline[0].Message = strings.Repeat("m", 2*MaxRecentText)
	if n := len(u.Recent("")); n != 1 {
		t.Errorf("%d entries; want the newest always", n)
	}
}

func TestAt(t *testing.T) {
	said, came := time.Date(2026, 11, 21, 6, 0, 0, 0, time.FixedZone("", 3600)), time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	if got := (&Update{UpdatedAt: said, AcceptedAt: came}).At(); !got.Equal(said) || got.Location() != time.UTC {
		t.Error(got)
	}
	if got := (&Update{AcceptedAt: came}).At(); got != came {
		t.Error(got)
	}
}
