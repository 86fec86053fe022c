package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"strings"
	"sync"
)

// payload is what a peer takes from a webhook body.
type payload struct {
	incident string
	sequence int
	fault    error
}

// maxPayloads bounds the cache of bodies.
const maxPayloads = 1024

// payloads decodes webhook bodies, each distinct one once: an update goes to all
// its targets in the same bytes, so that full checks cost next to nothing.
type payloads struct {
	seed maphash.Seed

	mu    sync.RWMutex
	known map[uint64]knownPayload
}

type knownPayload struct {
	body []byte
	payload
}

func newPayloads() *payloads {
	return &payloads{seed: maphash.MakeSeed(), known: make(map[uint64]knownPayload)}
}

// decode reads a body; the caller keeps it.
func (p *payloads) decode(body []byte) payload {
	sum := maphash.Bytes(p.seed, body)
	p.mu.RLock()
	k, ok := p.known[sum]
	p.mu.RUnlock()
	if ok && bytes.Equal(k.body, body) {
		return k.payload
	}
	k = knownPayload{bytes.Clone(body), decodePayload(body)}
	p.mu.Lock()
	if len(p.known) >= maxPayloads {
		clear(p.known)
	}
	p.known[sum] = k
	p.mu.Unlock()
	return k.payload
}

// decodePayload reads and checks the body that docs call "Webhook body".
func decodePayload(body []byte) payload {
	var b struct {
		Type string `json:"type"`
		Data struct {
			IncidentID string `json:"incident_id"`
			Sequence   int    `json:"sequence"`
			Status     string `json:"status"`
			Updates    []struct {
				Sequence int `json:"sequence"`
			} `json:"updates"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return payload{fault: errors.New("the body is not the JSON of a webhook")}
	}
	p := payload{incident: b.Data.IncidentID, sequence: b.Data.Sequence}
	switch {
	case p.incident == "" || strings.ContainsAny(p.incident, "\t\n"):
		p.fault = errors.New("the body has no incident_id")
	case p.sequence < 1:
		p.fault = errors.New("the body has no sequence from 1 on")
	case b.Type != typeOf(p.sequence, b.Data.Status):
		p.fault = errors.New("the body's type is not that of its sequence and status")
	case len(b.Data.Updates) == 0 || b.Data.Updates[0].Sequence != p.sequence:
		p.fault = errors.New("the body's timeline does not begin with its own update")
	}
	for i := 1; i < len(b.Data.Updates) && p.fault == nil; i++ {
		if b.Data.Updates[i].Sequence >= b.Data.Updates[i-1].Sequence {
			p.fault = errors.New("the body's timeline is not newest first")
		}
	}
	return p
}

func typeOf(sequence int, status string) string {
	switch {
	case sequence == 1:
		return "incident.created"
	case status == "resolved" || status == "completed":
		return "incident.resolved"
	}
	return "incident.updated"
}
