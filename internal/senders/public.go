package senders

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// checkPublic checks which labels of an alert are told, and by which names.
func checkPublic(public map[string][]string) error {
	names := slices.Sorted(maps.Keys(public))
	for _, name := range names {
		field := fmt.Sprintf("public_details[%q]", name)
		if labels := public[name]; len(labels) == 0 || slices.Contains(labels, "") {
			return &incident.Invalid{Field: field, Reason: "must have names of labels"}
		}
		if err := CheckPublicName(name); err != nil {
			return &incident.Invalid{Field: field, Reason: err.Error()}
		}
	}
	if len(names) > lifecycle.MaxPublicDetails {
		return &incident.Invalid{Field: "public_details", Reason: fmt.Sprintf("must have at most %d names", lifecycle.MaxPublicDetails)}
	}
	return nil
}

// CheckPublicName says what is wrong with the name of a public detail. Its errors
// complete the sentence that a key begins.
func CheckPublicName(name string) error {
	if clean, _, err := incident.PublicDetail(name, ""); err != nil || clean != name {
		return errors.New("must have a name of 1 to 64 bytes, printable and without spaces around it")
	}
	return nil
}

// plainText is a string, or a number as it is written.
func plainText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}
