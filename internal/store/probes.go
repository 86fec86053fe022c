package store

import "context"

// Probes keeps the health of the services that are probed. Implementations are safe
// for concurrent use.
type Probes interface {
	// ServiceStates returns what was saved last of each service, by its name.
	ServiceStates(ctx context.Context) (map[string][]byte, error)
	// SaveServices replaces the states of services, all or none of them; nil forgets
	// one. They are durable when it returns nil. It waits behind everything else that
	// is written, and takes as long as an import does for as many targets. The entries
	// go into the audit log in the same transaction.
	SaveServices(ctx context.Context, states map[string][]byte, audit ...AuditEntry) error
}
