package incident

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"slices"
	"time"
)

// ContentHash tells identical repeats of a valid event: the first 16 bytes of a
// SHA-256 over everything a reader could be told, in a fixed order. The update id
// and all times are left out, for they change from repeat to repeat, and the
// secrets of inline targets and the callback URL, which no reader is told. The order of components and of
// inline targets does not matter.
func (e *Event) ContentHash() [16]byte {
	c := *e
	c.UpdateID = ""
	c.StartedAt, c.UpdatedAt, c.ResolvedAt, c.ExpiresAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.AffectedComponents = slices.Sorted(slices.Values(e.AffectedComponents))
	c.Targets = slices.SortedFunc(slices.Values(e.Targets), func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Address, b.Address),
			cmp.Compare(a.ExternalID, b.ExternalID))
	})
	// A valid event always encodes; one that does not hashes as an empty one, and
	// Validate is where it is refused.
	data, _ := c.encode(false)
	sum := sha256.Sum256(append([]byte("tocsin content 1\n"), data...))
	return [16]byte(sum[:16])
}

// DeliveryID names the delivery of one update to one target: "msg_" and 26
// characters of lower-case base32. It is the webhook-id of Standard Webhooks and
// the idempotency key of every other channel, the same on every attempt and from
// every worker.
func DeliveryID(page, incidentID string, sequence int, targetID string) string {
	return name("msg_", "tocsin delivery 1", page, incidentID, number(sequence), targetID)
}

// EditionID names a delivery that was sent again as new: for edition 0 it is
// [DeliveryID], for each later one another name of that form.
func EditionID(page, incidentID string, sequence int, targetID string, edition int) string {
	if edition == 0 {
		return DeliveryID(page, incidentID, sequence, targetID)
	}
	return name("msg_", "tocsin delivery again 1", page, incidentID, number(sequence), targetID, number(edition))
}

// CallbackID names the callback that tells of an update's completion: "msg_" and 26
// characters of lower-case base32, the webhook-id of every attempt.
func CallbackID(page, incidentID string, sequence int) string {
	return name("msg_", "tocsin callback 1", page, incidentID, number(sequence))
}

// ThreadID names the thread of one incident at one target: "thr_" and 26 characters
// of lower-case base32, the same for all its updates.
func ThreadID(page, incidentID, targetID string) string {
	return name("thr_", "tocsin thread 1", page, incidentID, targetID)
}

// UpdateID names an update that neither its producer nor the intake gave a name:
// "upd_" and 26 characters of lower-case base32. It comes from the update's place
// in its incident and not from its content, since an incident may say the same
// again after something else.
func UpdateID(page, incidentID string, sequence int) string {
	return name("upd_", "tocsin update 1", page, incidentID, number(sequence))
}

// name returns a prefix and 130 bits of a SHA-256 over the fields. Each field comes
// after its length, so that no two lists of fields run together to the same bytes.
// It is called for every delivery: only the result is allocated.
func name(prefix string, fields ...string) string {
	buf := make([]byte, 0, 192)
	for _, f := range fields {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(f)))
		buf = append(buf, f...)
	}
	sum := sha256.Sum256(buf)
	buf = append(buf[:0], prefix...)
	buf = lowerBase32.AppendEncode(buf, sum[:20])
	return string(buf[:len(prefix)+26])
}

// lowerBase32 is the alphabet of RFC 4648, section 6, in lower case.
var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567")

// number is a field that is one.
func number(n int) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n)))
}
