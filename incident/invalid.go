package incident

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Invalid says which field of an event or target is at fault and what to do
// about it. It never contains the refused value, so it may be logged and sent
// back to the producer.
type Invalid struct {
	// Field is the JSON path of the field, such as "targets[3].address"; "event"
	// or "target" if the document as a whole is at fault. Names that came from
	// the producer are cut to 64 bytes and quoted if not plainly printable.
	Field string
	// Reason completes the sentence that Field begins, in at most 256 bytes.
	Reason string
}

// Error returns "field: reason".
func (i *Invalid) Error() string { return i.Field + ": " + i.Reason }

// under moves the fault below a parent: "address" under "targets[3]" becomes
// "targets[3].address", and the whole document becomes the parent itself.
func (i *Invalid) under(parent, whole string) *Invalid {
	if i.Field == whole {
		return &Invalid{parent, i.Reason}
	}
	return &Invalid{parent + "." + i.Field, i.Reason}
}

const (
	required   = "is required"
	maxNameLen = 64
)

// at names the i-th element of a list.
func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// named makes a name chosen by the producer fit for an error text.
func named(name string) string {
	if len(name) > maxNameLen {
		name = strings.ToValidUTF8(name[:maxNameLen], "") + "…"
	}
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToASCII(name)
	}
	return name
}
