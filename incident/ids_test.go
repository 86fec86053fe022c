package incident

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestIDsStayTheSame(t *testing.T) {
	// Receivers deduplicate by these. Another value here means duplicates for every
	// delivery that is open while the engine is upgraded.
	if got, want := DeliveryID("default", "INC-8892", 2, "17"), "msg_vd74hvziqslb3op6qvqpbizq5a"; got != want {
		t.Errorf("DeliveryID = %q, want %q", got, want)
	}
	if got, want := ThreadID("default", "INC-8892", "17"), "thr_6czovmts6bzcujncviynb6s5be"; got != want {
		t.Errorf("ThreadID = %q, want %q", got, want)
	}
	if got, want := CallbackID("default", "INC-8892", 2), "msg_3i77dabcwrms4s22bqy2uihz5o"; got != want {
		t.Errorf("CallbackID = %q, want %q", got, want)
	}
	hash := decode(t, full).ContentHash()
	if got, want := hex.EncodeToString(hash[:]), "295e2cf0afdc90aacbc0a568fa76f6dc"; got != want {
		t.Errorf("ContentHash = %q, want %q", got, want)
	}
}

func TestUpdateID(t *testing.T) {
	// Known to producers who were told it: it must never change.
	if got, want := UpdateID("default", "INC-8892", 2), "upd_xulmqcpvhrvadqjchulq645kee"; got != want {
		t.Errorf("UpdateID = %q, want %q", got, want)
	}
	if UpdateID("a", "b", 1) == UpdateID("a", "b", 2) || UpdateID("a", "bc", 1) == UpdateID("ab", "c", 1) {
		t.Error("two updates have one name")
	}
}

func TestDeliveryIDsDiffer(t *testing.T) {
	shape := regexp.MustCompile(`^(msg|thr)_[a-z2-7]{26}$`)
	seen := map[string]bool{}
	for _, id := range []string{
		DeliveryID("p", "i", 1, "t"), DeliveryID("p", "i", 2, "t"), DeliveryID("p", "i", 256, "t"), DeliveryID("p", "i", 1, "u"),
		DeliveryID("p", "j", 1, "t"), DeliveryID("q", "i", 1, "t"), DeliveryID("pi", "", 1, "t"), DeliveryID("", "pi", 1, "t"),
		CallbackID("p", "i", 1), CallbackID("p", "i", 2), CallbackID("pi", "", 1),
		ThreadID("p", "i", "t"), ThreadID("p", "i", "u"), ThreadID("pi", "", "t"), ThreadID("p", "", "it"),
	} {
		if !shape.MatchString(id) {
			t.Errorf("odd id %q", id)
		}
		if seen[id[4:]] {
			t.Errorf("%q twice", id)
		}
		seen[id[4:]] = true
	}
}

func TestContentHashCoversContentAlone(t *testing.T) {
	base := decode(t, full).ContentHash()
	hash := func(change func(*Event)) [16]byte {
		e := decode(t, full)
		change(e)
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		return e.ContentHash()
	}
	later := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, change := range map[string]func(*Event){
		"update_id":   func(e *Event) { e.UpdateID = "" },
		"started_at":  func(e *Event) { e.StartedAt = later },
		"updated_at":  func(e *Event) { e.UpdatedAt = later },
		"resolved_at": func(e *Event) { e.ResolvedAt = time.Time{} },
		"expires_at":  func(e *Event) { e.ExpiresAt = later },
		"order":       func(e *Event) { slices.Reverse(e.AffectedComponents) },
		"spaces":      func(e *Event) { e.Details = json.RawMessage(` { "b" : 1.0, "a":[true,null,"\u003c&>"]}`) },
		"secrets":     func(e *Event) { e.Targets[0].Secrets = nil },
		"callback":    func(e *Event) { e.CallbackURL = "https://elsewhere.example/" },
	} {
		if hash(change) != base {
			t.Errorf("%s changes the hash", name)
		}
	}
	seen := map[[16]byte]string{base: "nothing"}
	for name, change := range map[string]func(*Event){
		"page":            func(e *Event) { e.Page = "us" },
		"incident_id":     func(e *Event) { e.IncidentID = "INC-2" },
		"status":          func(e *Event) { e.Status = Resolved },
		"impact":          func(e *Event) { e.Impact = ImpactMinor },
		"affected":        func(e *Event) { e.AffectedComponents = []string{"a"} },
		"title":           func(e *Event) { e.Title, e.Message = e.Title+"We see it.", "More soon." },
		"message":         func(e *Event) { e.Message += "!" },
		"components":      func(e *Event) { e.Components["b"] = "up" },
		"links":           func(e *Event) { e.Links[0].Title = "" },
		"visibility":      func(e *Event) { e.Visibility = Public },
		"translations":    func(e *Event) { e.Translations["de"] = Translation{Title: "x"} },
		"details":         func(e *Event) { e.Details = nil },
		"public_details":  func(e *Event) { e.PublicDetails = map[string]string{"error_code": "E-1"} },
		"extra":           func(e *Event) { e.Extra = nil },
		"targets":         func(e *Event) { e.Targets = nil },
		"target's locale": func(e *Event) { e.Targets[0].Locale = "de" },
		"test":            func(e *Event) { e.Test = false },
	} {
		h := hash(change)
		if other, ok := seen[h]; ok {
			t.Errorf("%s hashes as %s does", name, other)
		}
		seen[h] = name
	}
}

func TestContentHashIgnoresOrderOfTargets(t *testing.T) {
	a, b := `{"channel":"rss","address":"a"}`, `{"channel":"rss","address":"b"}`
	one, other := decode(t, with("targets", "["+a+","+b+"]")), decode(t, with("targets", "["+b+","+a+"]"))
	if one.ContentHash() != other.ContentHash() {
		t.Error("the order of inline targets changes the hash")
	}
	if one.Targets[0].Address != "a" || other.Targets[0].Address != "b" {
		t.Error("hashing reordered the event")
	}
}
