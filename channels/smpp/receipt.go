package smpp

import (
	"fmt"
	"strings"
	"time"
)

// State is what became of a message (section 5.2.28).
type State uint8

// The states. The zero value is none of the specification's.
const (
	StateEnroute State = iota + 1
	StateDelivered
	StateExpired
	StateDeleted
	StateUndeliverable
	StateAccepted // read by somebody on behalf of the subscriber
	StateUnknown
	StateRejected
)

// String returns the state as receipts have it, in lower case: "delivrd".
func (s State) String() string {
	if s < StateEnroute || s > StateRejected {
		return "none"
	}
	return strings.ToLower(stateWords[s-1])
}

// stateWords are those of appendix B, in the order of the states.
var stateWords = [...]string{"ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"}

func stateOf(b byte) State {
	if b > byte(StateRejected) {
		return 0
	}
	return State(b)
}

// Final reports whether nothing more will be heard of the message.
func (s State) Final() bool { return s != StateEnroute && s != 0 }

// Receipt says what became of a message.
type Receipt struct {
	// Provider is the account it came by.
	Provider string
	// MessageID is Result.Handle of the message's first segment, as the centre
	// writes it in receipts.
	MessageID string
	State     State
	// Err is the network's error code, "" if the centre gave none: at most 16
	// letters, digits, colons and signs, whose meaning is the centre's own.
	Err string
	// Done is when the message reached its state, by the centre's clock, which is
	// taken to be in UTC; zero if the centre did not say.
	Done time.Time
}

// Detail is what the ledger keeps of a receipt: "delivered", "failed" with the state
// and the network's error code, as in "failed: undeliv err 01b", or the state where
// that says neither: "acceptd", "unknown".
func (r Receipt) Detail() string {
	switch r.State {
	case StateDelivered:
		return "delivered"
	case StateAccepted, StateUnknown:
		return r.State.String()
	}
	text := "failed: " + r.State.String()
	if r.Err != "" {
		text += " err " + r.Err
	}
	return text
}

// receipt reads a delivery receipt: the optional parameters of section 5.3.2 where
// they are there, else the text of appendix B. It is not ok without id and state.
func (in *inbound) receipt() (r Receipt, ok bool) {
	r = parseReceipt(in.text)
	if in.receiptedID != "" {
		r.MessageID = in.receiptedID
	}
	if in.messageState != 0 {
		r.State = in.messageState
	}
	if n := in.networkError; r.Err == "" && n != nil {
		r.Err = fmt.Sprintf("%d:%d", n[0], int(n[1])<<8|int(n[2]))
	}
	return r, r.MessageID != "" && r.State != 0
}

// parseReceipt reads as much as there is of
//
//	id:IIIIIIIIII sub:SSS dlvrd:DDD submit date:YYMMDDhhmm done date:YYMMDDhhmm stat:DDDDDDD err:E Text: …
//
// in any order and case, up to the text, which a stranger may have written.
func parseReceipt(text string) Receipt {
	var r Receipt
	seen := make(map[string]bool, 4)
	for text != "" {
		name, rest, found := strings.Cut(text, ":")
		if !found {
			break
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "text" {
			break
		}
		value, after, _ := strings.Cut(rest, " ")
		text = after
		if seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "id":
			r.MessageID = messageID([]byte(value))
		case "stat":
			r.State = stateNamed(value)
		case "err":
			r.Err = errorCode(value)
		case "done date":
			r.Done = doneDate(value)
		}
	}
	return r
}

func stateNamed(word string) State {
	for i, known := range stateWords {
		if strings.EqualFold(word, known) {
			return State(i + 1)
		}
	}
	if strings.EqualFold(word, "DELIVERED") {
		return StateDelivered
	}
	return 0
}

func errorCode(value string) string {
	const most = 16
	if len(value) > most || strings.ContainsFunc(value, func(r rune) bool {
		return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') && !strings.ContainsRune(":-_.", r)
	}) {
		return ""
	}
	return value
}

// doneDate reads YYMMDDhhmm, with seconds or the whole year as some have it.
func doneDate(value string) time.Time {
	layout, ok := map[int]string{10: "0601021504", 12: "060102150405", 14: "20060102150405"}[len(value)]
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(layout, value)
	if err != nil {
		return time.Time{}
	}
	return t
}
