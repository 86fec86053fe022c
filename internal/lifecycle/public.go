package lifecycle

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tocsin/tocsin/incident"
)

// MaxPublicDetails is how many public details a signal and an update have.
const MaxPublicDetails = 32

const (
	maxPublicValue = 512      // bytes, so that there are no more characters either
	maxPublic      = 32 << 10 // bytes, over all signals of a case
)

// checkPublic cuts values and leaves out those that say nothing; names that can't be
// told, and too many of them, are an [*incident.Invalid] of public_details.
func checkPublic(given map[string]string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	clean := make(map[string]string, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		name, value, err := incident.PublicDetail(name, fit(given[name], maxPublicValue, ""))
		if err != nil {
			return nil, err
		}
		if _, twice := clean[name]; value != "" && !twice {
			clean[name] = value
		}
	}
	switch {
	case len(clean) == 0:
		return nil, nil
	case len(clean) > MaxPublicDetails:
		return nil, &incident.Invalid{Field: "public_details", Reason: fmt.Sprintf("must have at most %d names", MaxPublicDetails)}
	}
	return clean, nil
}

// publicOf puts together what signals say, oldest first: of a name each value once, one
// after the other, as long as there is room for the whole of it; the oldest are never
// left out for younger ones.
func publicOf(signals []*Signal) map[string]string {
	var told map[string]string
	type detail struct{ name, value string }
	said := make(map[detail]bool)
	for _, s := range signals {
		for _, name := range slices.Sorted(maps.Keys(s.PublicDetails)) {
			d := detail{name, s.PublicDetails[name]}
			before, known := told[name]
			switch {
			case said[d]:
			case known && len(before)+len(", ")+len(d.value) <= maxPublicValue:
				told[name] = before + ", " + d.value
			case !known && len(told) < MaxPublicDetails:
				if told == nil {
					told = make(map[string]string)
				}
				told[name] = d.value
			}
			said[d] = true
		}
	}
	return told
}

func publicSize(details map[string]string) (bytes int) {
	for name, value := range details {
		bytes += len(name) + len(value)
	}
	return bytes
}
