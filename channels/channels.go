// Package channels is the port between the dispatcher and the ways a
// notification leaves the engine: webhook, smtp, smpp, rss.
//
// Promise: a [Channel] tells the truth about one attempt. Delivered is said
// only when the peer accepted; everything else is put into the one class that
// decides what the dispatcher does next. An attempt is bounded in time and
// memory whatever the peer does, and nothing secret (address, key, URL query)
// appears in a [Result].
//
// Words: a channel renders an update once per [Variant] into a [Payload], then
// sends one [Message] per delivery; the far side whose limits are respected is
// the provider.
package channels

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Class says what came back from one attempt and so what happens next.
type Class uint8

// The classes of a result. The zero value is no class: a result without one is
// a defect of the channel and is treated as [Temporary].
const (
	// Delivered: the peer accepted the message (HTTP 2xx, SMTP 250, ESME_ROK).
	Delivered Class = iota + 1
	// Temporary: worth another attempt; counts for the provider's breaker.
	Temporary
	// Throttled: the peer asked for less; the target pauses, the breaker
	// does not count it.
	Throttled
	// Gone: the address will never work again; the target is disabled.
	Gone
	// Permanent: this message will never be accepted by this target.
	Permanent
	// NotSent: the attempt ended before anything left this machine, for a
	// reason of ours (shutdown). The attempt is not charged to anyone.
	NotSent
)

// String returns the class as the ledger, the API and the metrics name it.
func (c Class) String() string {
	switch c {
	case Delivered:
		return "delivered"
	case Temporary:
		return "temporary"
	case Throttled:
		return "throttled"
	case Gone:
		return "gone"
	case Permanent:
		return "permanent"
	case NotSent:
		return "not_sent"
	}
	return "none"
}

// MaxDetail is the longest Detail a channel may return, in bytes.
const MaxDetail = 200

// Result is the outcome of one attempt.
type Result struct {
	Class Class
	// Detail is a short cause with the peer's own words where it gave any:
	// "http 503: maintenance", "connect: timeout", "ssrf_blocked". At most
	// [MaxDetail] bytes of valid UTF-8 without control characters; never an
	// address, a secret or a query string.
	Detail string
	// RetryAfter is the pause the peer asked for, already clamped to
	// 1 s … 1 h; zero when it named none.
	RetryAfter time.Duration
	// NoConnection is true when no connection to the provider could be made
	// (DNS, connect, TLS handshake). Five in a row open the breaker.
	NoConnection bool
	// Handle is what the peer calls the message (a Slack ts, a Discord
	// message id, an SMSC message id), when later ones have to refer to it.
	Handle string
}

// Update is what a channel may say of one update of an incident: the public
// projection of the event and the incident's timeline so far. It is shared by
// every delivery of the update and must not be changed.
type Update struct {
	Page       string
	IncidentID string
	// Sequence numbers the incident's updates 1, 2, 3 …
	Sequence           int
	Status             incident.Status
	Impact             incident.Impact
	Title              string
	Message            string
	AffectedComponents []string
	Components         map[string]string
	StartedAt          time.Time
	UpdatedAt          time.Time
	ResolvedAt         time.Time // zero while unresolved
	Links              []incident.Link
	Translations       map[string]incident.Translation
	// Details may be shown to private targets only.
	Details json.RawMessage
	// Timeline holds every sent update up to this one, newest first.
	Timeline   []TimelineEntry
	AcceptedAt time.Time
	ExpiresAt  time.Time
	Test       bool
}

// TimelineEntry is one update of the incident's history.
type TimelineEntry struct {
	Sequence     int
	Status       incident.Status
	Impact       incident.Impact
	Title        string
	Message      string
	UpdatedAt    time.Time
	Translations map[string]incident.Translation
}

// Variant is everything besides the update that a rendering depends on. Two
// targets with equal variants get the same bytes.
type Variant struct {
	Format     string
	Locale     string
	Visibility incident.Visibility
}

// Payload is a rendered update. What it is, is between a channel's Render and
// Send; it is shared by concurrent sends and must not be changed by them.
type Payload any

// Message is one delivery, ready to leave.
type Message struct {
	// ID is the idempotency key: the same for every attempt of a delivery
	// (see incident.DeliveryID).
	ID string
	// Provider is the far side whose limits apply: a webhook's host:port, a
	// relay's or account's name.
	Provider string
	// Address is where the message goes: a URL, a mailbox, an E.164 number, a
	// feed name.
	Address string
	Target  int64
	Secrets []string
	// Attempt counts from 1.
	Attempt int
	Variant Variant
	Update  *Update
	Payload Payload
	// Written is for a [Teller] to call; nil where nobody wants to know.
	Written func()
}

// Channel sends messages of one kind. All methods are safe for concurrent use.
type Channel interface {
	// Render turns an update into what Send needs of it. The dispatcher calls
	// it once per update and variant. An error means that no target of this
	// variant can be served: their deliveries end as permanent.
	Render(u *Update, v Variant) (Payload, error)

	// Send makes one attempt and returns when its result is known. It bounds
	// itself: connect and overall timeouts of the channel's configuration
	// start once a dial slot is held. When ctx ends, Send cuts what it is
	// doing and returns as soon as it can: NotSent if nothing had left,
	// Temporary otherwise.
	Send(ctx context.Context, m *Message) Result

	// Close releases connections. It is called once, after the last Send
	// returned.
	Close() error
}

// Teller is implemented by a [Channel] that calls [Message.Written] in Send as
// soon as the request is written and only the peer is waited for; again if it has to
// write it again, and not at all where it doesn't come to that. The dispatcher uses it to
// start no more at once than this machine has CPU for.
type Teller interface {
	TellsWritten()
}

// Coster is implemented by a [Channel] whose messages can take more than one
// token of their provider's bucket. Without it every message takes one.
type Coster interface {
	// Cost returns how many tokens a message with this payload takes, at least
	// 1: an SMS that is sent in three segments is three messages to the SMSC.
	Cost(p Payload) int
}
