package incident

import (
	"fmt"
	"slices"
	"strings"
)

func page(s string) (string, *Invalid) {
	if s = strings.TrimFunc(s, blank); s == "" {
		return defaultPage, nil
	}
	clean, reason := token(s, true)
	if reason != "" {
		return "", &Invalid{"page", reason}
	}
	return clean, nil
}

// cleanID is identifier with the field named in the refusal.
func cleanID(field, s string, maxBytes int) (string, *Invalid) {
	clean, reason := identifier(s, maxBytes)
	if reason != "" {
		return "", &Invalid{field, reason}
	}
	return clean, nil
}

// ComponentID cleans the id of a component as an event's would be; the error is an
// [*Invalid] of affected_components.
func ComponentID(id string) (string, error) {
	clean, bad := componentIDs("affected_components", []string{id})
	if bad != nil {
		return "", bad
	}
	return clean[0], nil
}

// PublicDetail cleans a name and a value as those of an event's public details would be;
// the error is an [*Invalid] of public_details. An event takes no empty value: that is
// left to the caller, for one may be empty only once it is clean.
func PublicDetail(name, value string) (cleanName, cleanValue string, err error) {
	field := "public_details." + named(name)
	key, bad := cleanID(field, name, maxNameLen)
	if bad != nil {
		return "", "", bad
	}
	value, reason := line(value, maxTitle)
	if reason == "" && key == "" {
		reason = "must have a name"
	}
	if reason != "" {
		return "", "", &Invalid{field, reason}
	}
	return key, value, nil
}

// componentIDs cleans a list of component ids and drops repeats, in order. It
// returns a new list, never nil.
func componentIDs(field string, ids []string) ([]string, *Invalid) {
	if len(ids) > maxComponents {
		return nil, tooMany(field, maxComponents)
	}
	clean := make([]string, 0, len(ids))
	seen := make(map[string]struct{}, len(ids))
	for i, id := range ids {
		id, bad := cleanID(at(field, i), id, maxComponentID)
		if bad != nil {
			return nil, bad
		}
		if id == "" {
			return nil, &Invalid{at(field, i), "must not be empty"}
		}
		if _, twice := seen[id]; !twice {
			seen[id] = struct{}{}
			clean = append(clean, id)
		}
	}
	return clean, nil
}

// oneOf checks a word against a list such as "public, private".
func oneOf[W ~string](field string, w W, allowed string) *Invalid {
	switch {
	case w == "":
		return &Invalid{field, required + ": one of " + allowed}
	case !slices.Contains(strings.Split(allowed, ", "), string(w)):
		return &Invalid{field, "must be one of " + allowed}
	}
	return nil
}

func tooMany(field string, limit int) *Invalid {
	return &Invalid{field, fmt.Sprintf("must have at most %d entries", limit)}
}

func nilIfEmpty[M ~map[K]V, K comparable, V any](m M) M {
	if len(m) == 0 {
		return nil
	}
	return m
}
