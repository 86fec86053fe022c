package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// payload is a mail with slots, the same for every target of a variant. A slot is
// filled before the text of the next part.
type payload struct{ parts []part }

type part struct {
	text []byte
	slot slot // after the text
}

// slot is a place in a mail where something of one recipient goes.
type slot uint8

const (
	slotNone   slot = iota
	slotFrom        // the relay's From
	slotTo          // the mailbox
	slotID          // the Message-ID
	slotThread      // the root of the incident's thread
	slotLink        // the unsubscribe link, in a header
	slotText        // the same in quoted text
	slotHTML        // the same in quoted HTML
)

// maxSubject is the longest subject, in characters.
const maxSubject = 255

// boundary separates the alternatives. Quoted text can't have a "=_".
const boundary = "=_tocsin"

// Render writes the mail but for its slots: text and HTML from the templates of the
// format, in the variant's locale where there is a translation.
func (c *Channel) Render(u *channels.Update, v channels.Variant) (channels.Payload, error) {
	name := v.Format
	if name == "" {
		name = formatTocsin
	}
	if c.templates.formats[name] == nil {
		return nil, fmt.Errorf("there are no templates for the mail format %q; use %q, or add them to the templates' directory", name, formatTocsin)
	}
	data, texts, err := c.write(u, name, v.Locale)
	if err != nil {
		return nil, fmt.Errorf("render update %d of an incident as mail: %w", u.Sequence, err)
	}
	var p payload
	p.headers(data, texts.subject, date(u), c.config.Unsubscribe != nil)
	p.text("--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	p.quoted(texts.text, c.templates.mark, slotText)
	p.text("\r\n--" + boundary + "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	p.quoted(texts.html, c.templates.mark, slotHTML)
	p.text("\r\n--" + boundary + "--\r\n")
	return &p, nil
}

// written is what the templates made, with the mark where the link goes.
type written struct{ subject, text, html string }

// write runs the templates of a format.
func (c *Channel) write(u *channels.Update, name, locale string) (*Mail, written, error) {
	f := c.templates.formats[name]
	data := view(u, locale)
	if c.config.Unsubscribe != nil {
		data.Unsubscribe = c.templates.mark
	}
	var out [3]strings.Builder
	for i, t := range []template{f.subject, f.text, f.html} {
		if err := t.Execute(&out[i], data); err != nil {
			return nil, written{}, err
		}
	}
	w := written{subject: oneLine(out[0].String(), maxSubject), text: plainText(out[1].String()), html: plainText(out[2].String())}
	switch {
	case w.subject == "":
		return nil, written{}, errors.New("the subject is empty")
	case strings.Contains(w.subject, c.templates.mark):
		return nil, written{}, errors.New("the subject can't have the unsubscribe link")
	}
	return data, w, nil
}

// date is when the message came to be, the same for each attempt.
func date(u *channels.Update) time.Time {
	if u.AcceptedAt.IsZero() {
		return u.UpdatedAt
	}
	return u.AcceptedAt
}

func (p *payload) headers(m *Mail, subject string, at time.Time, unsubscribe bool) {
	p.text("From: ").slot(slotFrom)
	p.text("\r\nTo: ").slot(slotTo)
	p.text("\r\n" + header("Subject", subject))
	p.text(header("Date", at.UTC().Format(time.RFC1123Z)))
	p.text("Message-ID: ").slot(slotID)
	p.text("\r\nIn-Reply-To: ").slot(slotThread)
	p.text("\r\nReferences: ").slot(slotThread)
	p.text("\r\n")
	if unsubscribe {
		p.slot(slotLink)
	}
	p.text("Auto-Submitted: auto-generated\r\n") // RFC 3834
	p.text(header("Tocsin-Page", oneLine(m.Page, maxSubject)))
	p.text(header("Tocsin-Incident", oneLine(m.IncidentID, maxSubject)))
	p.text(header("Tocsin-Sequence", strconv.Itoa(m.Sequence)))
	p.text("MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"" + boundary + "\"\r\n\r\n")
}

// text appends to the part that has no slot yet.
func (p *payload) text(text string) *payload {
	p.last().text = append(p.last().text, text...)
	return p
}

// quoted appends text in quoted-printable, with a slot for each mark.
func (p *payload) quoted(text, mark string, s slot) {
	for i, piece := range strings.Split(text, mark) {
		if i > 0 {
			p.text(softBreak).slot(s)
			p.text(softBreak)
		}
		p.last().text = appendQuoted(p.last().text, piece)
	}
}

// slot ends the last part.
func (p *payload) slot(s slot) {
	p.last().slot = s
	p.parts = append(p.parts, part{})
}

func (p *payload) last() *part {
	if len(p.parts) == 0 {
		p.parts = append(p.parts, part{})
	}
	return &p.parts[len(p.parts)-1]
}
