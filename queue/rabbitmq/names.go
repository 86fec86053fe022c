package rabbitmq

// names are what the exchanges and queues of one deployment are called. The
// default deployment has the plain names; any other puts its own name after
// "tocsin.", so that two on one virtual host share nothing.
type names struct {
	incidents string // topic exchange, and the intake queue bound to it
	probes    string // topic exchange, and the queue of probes' results bound to it
	invalid   string // queue of events, and bodies of results, that were refused
	deliver   string // direct exchange, and how the groups' queues begin
	updates   string // fanout exchange
	parked    string // fanout exchange for dead letters, and the queue bound to it
	owner     string // queue that one process holds
}

// prefix begins every name; see replyAllowed.
const prefix = "tocsin."

func namesOf(deployment string) names {
	p := prefix
	if deployment != "default" {
		p += deployment + "."
	}
	return names{
		incidents: p + "incidents",
		probes:    p + "probes",
		invalid:   p + "incidents.invalid",
		deliver:   p + "deliver",
		updates:   p + "updates",
		parked:    p + "parked",
		owner:     prefix + "owner." + deployment,
	}
}

// Urgency is the second half of a queue's name and of a routing key.
const (
	urgent = iota
	normal
	urgencies
)

func urgencyWord(u int) string {
	if u == urgent {
		return "urgent"
	}
	return "normal"
}

func urgencyOf(isUrgent bool) int {
	if isUrgent {
		return urgent
	}
	return normal
}

// key routes to a group's queue.
func key(group string, urgency int) string {
	return group + "." + urgencyWord(urgency)
}

func (n names) group(group string, urgency int) string {
	return n.deliver + "." + key(group, urgency)
}
