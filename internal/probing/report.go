package probing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
)

// Source is the source of what this package reports.
const Source = "probes"

const (
	groupPrefix = "probe-"
	signalKey   = "health" // a service has one
	// maxGroupName is what a group may have of a service's name: a longer name is told
	// by its hash.
	maxGroupName = 90
)

// groupOf names the incidents of a service.
func groupOf(service string) string {
	if len(service) <= maxGroupName {
		return groupPrefix + service
	}
	sum := sha256.Sum256([]byte(service))
	return groupPrefix + hex.EncodeToString(sum[:16])
}

// reportOf says how a service is now. The same change gives the same report. The cause
// has names of locations, and so is for private audiences.
func reportOf(c probe.Change, page string) *lifecycle.Report {
	s := lifecycle.Signal{
		Key: signalKey, Firing: c.To != probe.Operational, Components: []string{c.Service},
		StartedAt: c.Began, Title: fmt.Sprintf("%s is %s", c.Service, c.To),
	}
	switch c.To {
	case probe.Down:
		s.Impact, s.Message = incident.ImpactCritical, "Most of our probes don't reach it."
	case probe.Degraded:
		s.Impact, s.Message = incident.ImpactMinor, "Some of our probes don't reach it, or it is slow."
	default:
		s.Impact, s.Message, s.EndedAt = incident.ImpactNone, "Our probes reach it again.", c.At
	}
	s.Details, _ = json.Marshal(map[string]string{"service": c.Service, "health": c.To.String(), "cause": c.Cause}) // strings don't fail
	return &lifecycle.Report{Source: Source, Page: page, Group: groupOf(c.Service), Whole: true, Signals: []lifecycle.Signal{s}}
}

// digestOf names what is reported.
func digestOf(changes []probe.Change) [32]byte {
	text := []byte("tocsin probes 1\n")
	for _, c := range changes {
		text = fmt.Appendf(text, "%q %d %d\n", c.Service, c.To, c.At.UnixNano())
	}
	return sha256.Sum256(text)
}
