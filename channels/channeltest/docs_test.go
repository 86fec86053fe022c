package channeltest

import (
	"slices"
	"testing"

	"github.com/tocsin/tocsin/channels"
)

// Every class is explained, and no other.
func TestDocumentedClasses(t *testing.T) {
	var want, got []string
	for c := channels.Delivered; c.String() != "none"; c++ {
		want = append(want, c.String())
	}
	for _, row := range ReadDocs(t, "## Results").Table(t, "class") {
		got = append(got, row[0])
	}
	if !slices.Equal(got, want) || len(want) != int(channels.NotSent) {
		t.Errorf("docs/channels.md explains %q; there are %q", got, want)
	}
}
