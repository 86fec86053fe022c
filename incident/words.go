package incident

// Status is where an incident or a maintenance stands.
type Status string

// The statuses of an incident, and of a maintenance ([Scheduled] to [Completed]).
const (
	Investigating Status = "investigating"
	Identified    Status = "identified"
	Monitoring    Status = "monitoring"
	Resolved      Status = "resolved"
	Scheduled     Status = "scheduled"
	InProgress    Status = "in_progress"
	Verifying     Status = "verifying"
	Completed     Status = "completed"
)

// Valid reports whether s is one of the statuses above.
func (s Status) Valid() bool {
	switch s {
	case Investigating, Identified, Monitoring, Resolved, Scheduled, InProgress, Verifying, Completed:
		return true
	}
	return false
}

// Terminal reports whether s ends an incident: resolved or completed.
func (s Status) Terminal() bool { return s == Resolved || s == Completed }

// Impact is how bad it is.
type Impact string

// The impacts, see [Impact.Rank] for their order.
const (
	ImpactNone        Impact = "none"
	ImpactMinor       Impact = "minor"
	ImpactMajor       Impact = "major"
	ImpactCritical    Impact = "critical"
	ImpactMaintenance Impact = "maintenance"
)

// Valid reports whether i is one of the impacts above.
func (i Impact) Valid() bool {
	switch i {
	case ImpactNone, ImpactMinor, ImpactMajor, ImpactCritical, ImpactMaintenance:
		return true
	}
	return false
}

// Rank orders impacts: none 0, minor and maintenance 1, major 2, critical 3.
// What is not [Impact.Valid] ranks 0.
func (i Impact) Rank() int {
	switch i {
	case ImpactMinor, ImpactMaintenance:
		return 1
	case ImpactMajor:
		return 2
	case ImpactCritical:
		return 3
	}
	return 0
}

// Urgent reports whether deliveries of i go before all others: major or critical.
func (i Impact) Urgent() bool { return i.Rank() >= 2 }

// Highest returns the one with the higher rank. Of two with equal rank it keeps
// a, so an incident that began as a maintenance is not renamed to minor; an empty
// a counts as nothing known yet and gives b.
func Highest(a, b Impact) Impact {
	if a == "" || b.Rank() > a.Rank() {
		return b
	}
	return a
}

// Visibility says who may see an update, and what a target may be shown.
type Visibility string

// A public update reaches all targets, a private one only private targets.
const (
	Public  Visibility = "public"
	Private Visibility = "private"
)

// Valid reports whether v is public or private.
func (v Visibility) Valid() bool { return v == Public || v == Private }

// TargetState says whether a target is told of anything.
type TargetState string

// Only an active target is told. An operator or owner pauses a target, the engine
// disables one that keeps failing, and its owner unsubscribes it.
const (
	StateActive       TargetState = "active"
	StatePaused       TargetState = "paused"
	StateDisabled     TargetState = "disabled"
	StateUnsubscribed TargetState = "unsubscribed"
)

// Valid reports whether s is one of the states above.
func (s TargetState) Valid() bool {
	switch s {
	case StateActive, StatePaused, StateDisabled, StateUnsubscribed:
		return true
	}
	return false
}

// The channels a target can be on.
const (
	ChannelWebhook = "webhook"
	ChannelSMTP    = "smtp"
	ChannelSMPP    = "smpp"
	ChannelRSS     = "rss"
	ChannelWebSub  = "websub"
)

// The values that a refusal names, in the order people know them.
const (
	statuses     = "investigating, identified, monitoring, resolved, scheduled, in_progress, verifying, completed"
	impacts      = "none, minor, major, critical, maintenance"
	visibilities = "public, private"
	states       = "active, paused, disabled, unsubscribed"
	channels     = "webhook, smtp, smpp, rss, websub"
)
