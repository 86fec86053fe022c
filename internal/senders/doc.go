// Package senders reads what monitors and status pages send, each in its own words,
// as reports of package lifecycle. It is pure: the same body gives the same reports.
//
// Promise: what is refused is refused with the field at fault, as an
// [*incident.Invalid], and none of the body repeated. Labels, hosts and links of a
// sender stay here, but for those that the operator's mapping names.
package senders

import (
	"context"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// MaxBody is the largest body of senders that name no limit themselves, in bytes.
const MaxBody = 1 << 20

// Reading is what a sender said: of what is wrong, or updates of incidents, each with
// an update_id, in their order.
type Reading struct {
	Reports []*lifecycle.Report
	Events  []*incident.Event
}

// Own reads what one source sends to a route of its own. It is safe for concurrent use.
type Own struct {
	// Kind is the source of its reports and events: [SourceMapping] or
	// [SourceStatuspage].
	Kind string
	// Read reads a body. What it refuses is an [*incident.Invalid]; so is what takes
	// until ctx ends.
	Read func(ctx context.Context, body []byte) (*Reading, error)
}
