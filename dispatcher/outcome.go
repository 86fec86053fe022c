package dispatcher

// Outcome is how a delivery ended. The zero value is a delivery that has not
// ended: it is open.
type Outcome uint8

// The outcomes of a delivery.
const (
	Open Outcome = iota
	// Delivered: the peer accepted it.
	Delivered
	// Superseded: a newer update of the incident took its place before it
	// was sent; the newer one carries the whole timeline.
	Superseded
	// Suppressed: the target may not be told (paused, unsubscribed, disabled,
	// deleted), an operator stopped the fan-out, or it would be more than the
	// budget allows.
	Suppressed
	// Expired: not delivered by the update's expires_at.
	Expired
	// Dead: the peer refused it for good.
	Dead
)

// String returns the outcome as the ledger, the API and the metrics name it.
func (o Outcome) String() string {
	switch o {
	case Open:
		return "open"
	case Delivered:
		return "delivered"
	case Superseded:
		return "superseded"
	case Suppressed:
		return "suppressed"
	case Expired:
		return "expired"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Outcomes lists every outcome, Open first.
func Outcomes() []Outcome {
	return []Outcome{Open, Delivered, Superseded, Suppressed, Expired, Dead}
}
