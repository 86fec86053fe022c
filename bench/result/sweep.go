package result

// Sweep is one setting, tried out at several values with the rest left as it is.
type Sweep struct {
	// ID is short and in lower case, as in dial_gate.
	ID string `json:"id"`
	// Title says in a few words what is turned and under which work, as in "dials
	// and handshakes under way at once (w1)".
	Title string `json:"title"`
	// Unit is that of the values, as in "connections"; "" for words and bare
	// numbers.
	Unit string `json:"unit"`
	// Default is the value the engine or the system has when nobody turns it, and
	// Recommended the one that this sweep speaks for. Both are written as the
	// values of Points are. Recommended is "" if no value is better than another
	// beyond the noise, or if nothing could be measured.
	Default     string `json:"default"`
	Recommended string `json:"recommended"`
	// Points are in the order in which a chart shows them: the smallest first, if
	// there is an order.
	Points []SweepPoint `json:"points"`
	// Notes say what was left out and why, as in "tcp_tw_reuse: a network namespace
	// is not allowed here", and what the recommendation rests on if not on per_s.
	Notes []string `json:"notes,omitempty"`
}

// SweepPoint is what was measured at one value. What was not is 0: a point of zeros,
// with a note, is a value at which the work failed.
type SweepPoint struct {
	// Value is as one would write it where it is set: "256", "off", "X25519",
	// "1024 65535".
	Value string `json:"value"`
	// PerS, P99MS and PeakRSSMB are medians over the rounds, as in [Figures].
	PerS      float64 `json:"per_s"`
	P99MS     float64 `json:"p99_ms"`
	PeakRSSMB float64 `json:"peak_rss_mb"`
	// Spread is that of PerS over the rounds; 0 if there was one round.
	Spread float64 `json:"spread,omitempty"`
	// Note is what happened at this value, as in "back-pressure, no EMFILE".
	Note string `json:"note,omitempty"`
}
