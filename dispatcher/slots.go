package dispatcher

// chain links d into its slot, by sequence.
func (s *scheduler) chain(key slot, d *held) {
	head := s.slots[key]
	if head == nil || d.hold.lease.Sequence < head.hold.lease.Sequence && head.state != inFlight && head.state != settling && head.state != noting {
		d.next = head
		s.slots[key] = d
		if head != nil && (head.state == queued || head.state == delayed || head.state == suspected) {
			s.unqueue(head)
			head.state = behind
		}
		return
	}
	p := head
	for p.next != nil && p.next.hold.lease.Sequence < d.hold.lease.Sequence {
		p = p.next
	}
	d.next, p.next = p.next, d
}

// unchain takes d out of its slot and lets the next one go.
func (s *scheduler) unchain(d *held) {
	key := d.key()
	if p := s.slots[key]; p != d {
		for p != nil && p.next != d {
			p = p.next
		}
		if p != nil {
			p.next = d.next
		}
		d.next = nil
		return
	}
	next := d.next
	d.next = nil
	if next == nil {
		delete(s.slots, key)
		return
	}
	s.slots[key] = next
	if next.state == behind {
		s.enlist(next)
		s.touch(next.lane)
	}
}

// unqueue takes d out of its lane's heaps, or the suspects' line.
func (s *scheduler) unqueue(d *held) {
	switch d.state {
	case queued:
		d.lane.waiting.remove(d)
	case delayed:
		d.lane.delayed.remove(d)
	case suspected:
		s.suspects.line.remove(d)
	}
}

// serving returns the lane that serves a provider's deliveries now: its own,
// or the first of those that take over whose breaker is not open.
func (s *scheduler) serving(l *lane) *lane {
	if !l.isOpen() {
		return l
	}
	for _, name := range l.policy.Failover {
		if over := s.lane(l.group, name); !over.isOpen() {
			return over
		}
	}
	return l
}

// join counts d in a lane; part takes it out of its lane's count.
func (s *scheduler) join(d *held, l *lane) {
	d.lane = l
	if l.provider != d.d.Provider {
		s.takenOver[l.provider]++
	}
	l.held++
	l.counts.held++
}

func (s *scheduler) part(d *held) {
	d.lane.held--
	d.lane.counts.held--
}
