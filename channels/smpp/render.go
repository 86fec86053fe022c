package smpp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// formatTocsin is the only format; a target without one has it.
const formatTocsin = "tocsin"

// maxAffected is how many components a message names that has no title.
const maxAffected = 5

// Render writes the text of an update:
//
//	[INC-8892] #2 Identified, critical
//	Logins fail
//	A database node is out of disk space.
//
// The incident comes first, so that phones and people group by it; #2 is the
// sequence, since short messages overtake each other. Status and impact are in the
// language of the variant's locale where it is one of those of phrases, title and
// message in the closest translation that the producer gave.
func (c *Channel) Render(u *channels.Update, v channels.Variant) (channels.Payload, error) {
	if v.Format != "" && v.Format != formatTocsin {
		return nil, fmt.Errorf("the smpp format %q is not known; use %q", v.Format, formatTocsin)
	}
	return encodeText(compose(u, v.Locale)), nil
}

func compose(u *channels.Update, locale string) string {
	var b strings.Builder
	b.WriteString("[" + u.IncidentID + "] ")
	if u.Test {
		b.WriteString("TEST ")
	}
	say := phrasesFor(locale)
	b.WriteString("#" + strconv.Itoa(u.Sequence) + " " + say.status(u.Status))
	if impact := say.impact(u.Impact); impact != "" && !u.Status.Terminal() {
		b.WriteString(", " + impact)
	}
	text := u.Text(locale)
	if text.Message == text.Title {
		text.Message = ""
	}
	if text.Title == "" {
		text.Title = affected(u.AffectedComponents)
	}
	for _, line := range []string{text.Title, text.Message} {
		if line != "" {
			b.WriteString("\n" + strings.ReplaceAll(line, "\t", " "))
		}
	}
	return b.String()
}

func affected(components []string) string {
	if more := len(components) - maxAffected; more > 0 {
		return strings.Join(components[:maxAffected], ", ") + " +" + strconv.Itoa(more)
	}
	return strings.Join(components, ", ")
}

// phrases are the words of one language for what an event has no words for. They
// stay within GSM 03.38 where the language can.
type phrases struct {
	statuses map[incident.Status]string
	impacts  map[incident.Impact]string
}

func (p *phrases) status(s incident.Status) string {
	if word := p.statuses[s]; word != "" {
		return word
	}
	return string(s)
}

func (p *phrases) impact(i incident.Impact) string {
	if i == incident.ImpactNone {
		return ""
	}
	if word := p.impacts[i]; word != "" {
		return word
	}
	return string(i)
}

// phrasesFor returns those of the closest language, English if there is none.
func phrasesFor(locale string) *phrases {
	for tag := range channels.Locales(locale) {
		if p := languages[tag]; p != nil {
			return p
		}
	}
	return languages["en"]
}
