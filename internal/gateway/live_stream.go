package gateway

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// liveRetry is when a viewer that lost the stream comes back.
	liveRetry = 2 * time.Second
	// liveHeartbeat is how long the stream may be silent: a comment then tells
	// viewers, and proxies between, that it is alive.
	liveHeartbeat = 5 * time.Second
	// viewerPatience is how long one event may take to be written. It is shorter
	// than a shutdown waits for requests, so that a viewer who reads nothing
	// can't make one fail.
	viewerPatience = 3 * time.Second
)

// getLive is the stream of the live page (text/event-stream, WHATWG HTML §9.2): at
// once what is known, and then one event a second at most, each with all there is
// to see. It ends when the viewer leaves or is too slow, or the engine stops.
func (g *gateway) getLive(w http.ResponseWriter, r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default: // another site could not read it, but hold streams that others need
		return refuse(http.StatusForbidden, "requests caused by other web sites are refused")
	}
	s := eventStream{w: w, control: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		s.begin()
		return nil
	}
	shown, err := g.viewers.join()
	if err != nil {
		return err
	}
	defer g.viewers.leave()
	s.begin()
	err = s.write(fmt.Appendf(nil, "retry: %d\n\n", liveRetry.Milliseconds()))
	if err == nil && len(shown.event) > 0 {
		err = s.write(shown.event)
	}
	silence := time.NewTimer(liveHeartbeat)
	defer silence.Stop()
	for err == nil {
		select {
		case <-r.Context().Done():
			return nil
		case <-g.viewers.ended:
			return nil
		case <-shown.next:
			shown = g.viewers.latest()
			err = s.write(shown.event)
		case <-silence.C:
			err = s.write([]byte(": alive\n\n"))
		}
		silence.Reset(liveHeartbeat)
	}
	return nil // the viewer is gone or too slow: there is nobody to tell
}

// eventStream writes events, each with a deadline of its own.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s eventStream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s.w.WriteHeader(http.StatusOK)
}

func (s eventStream) write(event []byte) error {
	// Not every ResponseWriter knows deadlines; the server's does.
	_ = s.control.SetWriteDeadline(time.Now().Add(viewerPatience))
	if _, err := s.w.Write(event); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}
