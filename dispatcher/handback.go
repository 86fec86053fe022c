package dispatcher

// recall takes deliveries back whose target changed (to be batched anew, or
// suppressed, by what the ledger then says) or whose incident was stopped.
// Rare, and bounded by the admission.
func (s *scheduler) recall(targets map[int64]bool, stopped map[int64]int) {
	var back []*held
	for key, head := range s.slots {
		if !targets[key.target] && stopped[key.incident] == 0 {
			continue
		}
		for d := head; d != nil; d = d.next {
			switch d.state {
			case queued, delayed, behind, suspected:
				back = append(back, d)
			case inFlight, noting: // no further attempt from here
				d.recalled = targets[key.target]
				d.hold.stopped = d.hold.stopped || d.hold.lease.Sequence <= stopped[key.incident]
			}
		}
	}
	for _, d := range back {
		switch {
		case d.state == done: // went with one before it
		case d.hold.lease.Sequence <= stopped[d.hold.lease.Incident]:
			s.settle(d, stoppedHere)
		case targets[d.d.Target]:
			s.handBack(d)
		}
	}
}

// stoppedHere is what becomes of a delivery whose fan-out an operator stopped.
var stoppedHere = Settlement{Outcome: Suppressed, Detail: "fan-out stopped"}

// handBack sends a delivery to the ledger: due now, or when it was due here. Its peer
// may have asked for that time.
func (s *scheduler) handBack(d *held) {
	due := s.wall
	if d.state == delayed {
		due = s.wallOf(d.due)
	}
	s.toLedger(d, due)
}

// drain hands back everything that is not in flight.
func (s *scheduler) drain() {
	var back []*held
	for _, head := range s.slots {
		for d := head; d != nil; d = d.next {
			if d.state == queued || d.state == delayed || d.state == behind || d.state == suspected {
				back = append(back, d)
			}
		}
	}
	for _, d := range back {
		if d.state != done {
			s.handBack(d)
		}
	}
}

// overdue hands back what is left, and not in flight, of batches held too long.
func (s *scheduler) overdue() {
	for h := s.holds.first; h != nil && !s.now.Before(h.deadline); h = s.holds.first {
		s.holds.remove(h)
		for i := range h.deliveries {
			switch d := &h.deliveries[i]; d.state {
			case queued, delayed, behind, suspected:
				s.handBack(d)
			}
		}
	}
}
