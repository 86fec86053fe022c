package tune

import (
	"fmt"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/scenario"
)

// atTheEdge says how near the engine came to its limit of open files. That a request
// fails because of it, or that the engine runs out of files, breaks a promise.
func atTheEdge(t Trial, m *result.Measurement) (note string, broken error) {
	most, failed := m.Processes["engine"].MaxFDs, m.More[scenario.FailedAttempts]
	switch {
	case m.More[emfile] > 0:
		return "", fmt.Errorf("the engine said \"too many open files\" %.0f times", m.More[emfile])
	case t.Tuning.Files > 0 && most >= t.Tuning.Files:
		return "", fmt.Errorf("all of %d files were open", t.Tuning.Files)
	case failed > 0:
		return "", fmt.Errorf("%.0f attempts failed", failed)
	}
	return fmt.Sprintf("at most %d files open, no attempt failed, no EMFILE", most), nil
}

// resumed says how many handshakes resumed a session.
func resumed(_ Trial, m *result.Measurement) (string, error) {
	return fmt.Sprintf("%.0f %% resumed", m.More["resumed_percent"]), nil
}

// failures says how many attempts failed and were repeated.
func failures(_ Trial, m *result.Measurement) (string, error) {
	n := m.More[scenario.FailedAttempts]
	if n == 0 {
		return "no attempt failed", nil
	}
	return fmt.Sprintf("%.0f attempts failed and were repeated", n), nil
}
