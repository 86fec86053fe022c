package channels

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// faces says of every field of an event who may see it. A field that is not here is
// private until somebody decides.
var faces = map[string]face{
	"Page": everyone, "IncidentID": everyone, "Status": everyone, "Impact": everyone, "AffectedComponents": everyone,
	"StartedAt": everyone, "Title": everyone, "Message": everyone, "ResolvedAt": everyone, "Components": everyone,
	"Links": everyone, "Translations": everyone, "PublicDetails": everyone, "Test": everyone,
	"Details": insiders,
	// UpdatedAt and ExpiresAt are the engine's by then: see Project.
	"UpdateID": nobody, "UpdatedAt": nobody, "ExpiresAt": nobody, "Visibility": nobody, "Targets": nobody,
	"CallbackURL": nobody, "Extra": nobody,
}

type face int

const (
	nobody face = iota
	insiders
	everyone
)

// TestProjection fills every field of an event, whatever fields there are, and looks
// where each comes out.
func TestProjection(t *testing.T) {
	fields := reflect.TypeFor[incident.Event]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		want, decided := faces[name]
		if !decided {
			t.Errorf("nobody decided who may see Event.%s: say so in faces, and in Project if it is to leave", name)
		}
		e := new(incident.Event)
		fill(t, reflect.ValueOf(e).Elem().Field(i))
		for v, least := range map[incident.Visibility]face{incident.Public: everyone, "": everyone, incident.Private: insiders} {
			u := Project(e).SeenBy(v)
			if got := !reflect.ValueOf(*u).IsZero(); got != (want >= least) {
				t.Errorf("Event.%s is seen by a target of visibility %q: %v", name, v, got)
			}
		}
		entry := ProjectEntry(e, 0, time.Time{})
		if shown, err := json.Marshal(entry); err != nil || want != everyone && strings.Contains(string(shown), canary) {
			t.Errorf("a timeline shows Event.%s to everyone: %s, %v", name, shown, err)
		}
	}
}

const canary = "canary"

// fill puts a canary wherever a value can have one.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`"` + canary + `"`))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(canary)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(canary).Convert(v.Type().Key()), value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("no canary for a %s", v.Type())
	}
}

func TestSeenByLeavesTheSharedUpdateAlone(t *testing.T) {
	u := &Update{Title: "t", Details: []byte(`{}`)}
	if u.SeenBy(incident.Public).Details != nil || u.SeenBy(incident.Public).Title != "t" {
		t.Error("a public target is given another update")
	}
	if u.Details == nil || u.SeenBy(incident.Private) != u {
		t.Error("the shared update was changed")
	}
}
