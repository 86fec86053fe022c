package incident_test

import (
	"errors"
	"fmt"

	"github.com/tocsin/tocsin/incident"
)

// The smallest event that is valid.
func ExampleDecode() {
	e, err := incident.Decode([]byte(`{"incident_id":"INC-8892","status":"investigating",
		"affected_components":["auth-api","payment-gateway"],
		"impact":"critical","started_at":"2023-11-20T14:30:00Z"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Page, e.IncidentID, e.Status, e.Impact, e.AffectedComponents, e.Visibility)
	// Output: default INC-8892 investigating critical [auth-api payment-gateway] public
}

// A refusal names the field and says what would be right.
func ExampleInvalid() {
	_, err := incident.Decode([]byte(`{"incident_id":"INC-8892","status":"investigating",
		"affected_components":[],"impact":"apocalyptic","started_at":"2023-11-20T14:30:00Z"}`))
	if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
		fmt.Println(invalid.Field)
		fmt.Println(invalid.Reason)
	}
	// Output:
	// impact
	// must be one of none, minor, major, critical, maintenance
}
