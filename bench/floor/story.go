package floor

import (
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// Story is an incident as the bench has it: every word of it is known beforehand,
// and who publishes it with these words makes the engine send the same bytes as a
// floor.
type Story struct {
	Incident  string
	Title     string
	StartedAt time.Time
	// Filler makes messages as long as they are to be.
	Filler string
}

// The words that all stories share. Page and impact are the event's; the status is
// that of every update.
const (
	Page      = "default"
	Status    = "investigating"
	Impact    = "critical"
	Component = "auth-api"
)

// NewStory returns a story whose first update makes a webhook body of so many bytes.
// Later bodies are longer: they carry the timeline.
func NewStory(incident string, body int) (Story, error) {
	s := Story{Incident: incident, Title: "Logins fail", StartedAt: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)}
	if err := checkIncident(incident); err != nil {
		return Story{}, err
	}
	// The message is there twice, as the update's and in the timeline.
	missing := body - len(s.Body(1))
	if missing < 0 {
		return Story{}, fmt.Errorf("a webhook body has at least %d bytes; ask for more than %d", len(s.Body(1)), body)
	}
	s.Filler = strings.Repeat("x", missing/2)
	if missing%2 != 0 {
		s.Title += "!" // there once
	}
	return s, nil
}

// checkIncident wants a name that is written in the same bytes everywhere.
func checkIncident(name string) error {
	other := func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, other) {
		return fmt.Errorf("%q is no incident for a floor; use up to 64 letters, digits and dashes", name)
	}
	return nil
}

// Message is that of an update, 1 and up; no two are the same.
func (s *Story) Message(sequence int) string {
	return fmt.Sprintf("Step %04d: we are looking into it. %s", sequence, s.Filler)
}

// UpdatedAt is when an update happens: they are a minute apart.
func (s *Story) UpdatedAt(sequence int) time.Time {
	return s.StartedAt.Add(time.Duration(sequence) * time.Minute)
}

// Body is the webhook body of an update, as the engine renders it for anyone.
func (s *Story) Body(sequence int) []byte {
	kind := "incident.updated"
	if sequence == 1 {
		kind = "incident.created"
	}
	at := s.UpdatedAt(sequence).Format(time.RFC3339)
	var b strings.Builder
	fmt.Fprintf(&b, `{"type":%q,"timestamp":%q,"data":{"page":%q,"incident_id":%q,"sequence":%d,"status":%q,"impact":%q,"title":%q,"message":%q,`+
		`"affected_components":[%q],"started_at":%q,"updated_at":%q,"updates":[`,
		kind, at, Page, s.Incident, sequence, Status, Impact, s.Title, s.Message(sequence),
		Component, s.StartedAt.Format(time.RFC3339), at)
	for n := sequence; n > max(sequence-maxTimeline, 0); n-- {
		if n < sequence {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sequence":%d,"status":%q,"message":%q,"updated_at":%q}`, n, Status, s.Message(n), s.UpdatedAt(n).Format(time.RFC3339))
	}
	b.WriteString(`],"links":[]}}`)
	return []byte(b.String())
}

// maxTimeline is how many updates a webhook body holds.
const maxTimeline = 50

// ids makes the idempotency keys of one story: of the engine's form, but counted
// instead of hashed.
type ids struct{ story [8]byte }

func newIDs(incident string) ids {
	h := fnv.New64a()
	h.Write([]byte(incident))
	var i ids
	copy(i.story[:], strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil))))
	return i
}

// append appends what follows msg_ or thr_: eight characters of the story, four digits
// of the sequence and fourteen of the target.
func (i *ids) append(b []byte, target, sequence int) []byte {
	b = append(b, i.story[:]...)
	b = appendDigits(b, sequence, 4)
	return appendDigits(b, target, 14)
}

// appendDigits appends n with leading zeros.
func appendDigits(b []byte, n, width int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], int64(n), 10)
	for range width - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}
