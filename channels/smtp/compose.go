package smtp

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
)

// drafts keeps buffers for the next message.
type drafts struct{ pool sync.Pool }

// draft is a buffer for a whole message.
type draft struct{ content []byte }

func (d *drafts) get() *draft {
	if kept, ok := d.pool.Get().(*draft); ok {
		return kept
	}
	return new(draft)
}

// maxKept is the largest buffer that is kept, in bytes.
const maxKept = 64 << 10

func (d *drafts) put(done *draft) {
	if cap(done.content) <= maxKept {
		d.pool.Put(done)
	}
}

// end is the line of one dot that ends a message (RFC 5321, section 4.5.2). No line
// of ours begins with a dot, so none has to be doubled.
const end = ".\r\n"

// compose fills the slots of a rendered mail for one recipient and returns it with
// its end, signed if the relay's mails are. It is valid until the draft is used
// again. An error says why this message can't be sent.
func (d *draft) compose(c *Channel, r *relay, p *payload, m *channels.Message) ([]byte, error) {
	if !messageID(m.ID) {
		return nil, errors.New("the delivery's id can't be made a Message-ID")
	}
	link := ""
	if c.config.Unsubscribe != nil {
		link = c.config.Unsubscribe(m.Target)
		if err := checkLink(link); err != nil {
			return nil, errors.New("the unsubscribe link " + err.Error())
		}
	}
	thread := incident.ThreadID(m.Update.Page, m.Update.IncidentID, strconv.FormatInt(m.Target, 10))
	b := d.content[:0]
	for _, part := range p.parts {
		b = append(b, part.text...)
		switch part.slot {
		case slotFrom:
			b = append(b, r.from...)
		case slotTo:
			b = append(b, m.Address...)
		case slotID:
			b = appendID(b, m.ID, c.config.Domain)
		case slotThread:
			b = appendID(b, thread, c.config.Domain)
		case slotLink:
			b = appendLink(b, link)
		case slotText:
			b = appendQuoted(b, link)
		case slotHTML:
			b = appendQuoted(b, strings.ReplaceAll(link, "&", "&amp;"))
		}
	}
	if r.signer != nil {
		var err error
		if b, err = r.signer.sign(b); err != nil {
			return nil, err
		}
	}
	d.content = append(b, end...)
	return d.content, nil
}

func appendID(b []byte, left, right string) []byte {
	b = append(append(append(b, '<'), left...), '@')
	return append(append(b, right...), '>')
}

// appendLink appends the headers of RFC 2369 and RFC 8058.
func appendLink(b []byte, link string) []byte {
	b = append(append(append(b, "List-Unsubscribe: <"...), link...), ">\r\n"...)
	if strings.HasPrefix(link, "https://") {
		b = append(b, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"...)
	}
	return b
}

func messageID(id string) bool {
	for i := range len(id) {
		if !alnum(id[i]) && id[i] != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// maxLink keeps the header's line within the 998 bytes of RFC 5322.
const maxLink = 900

// checkLink refuses what could not be a link everywhere it goes: in a header between
// < and >, in text and in the attribute of an HTML tag.
func checkLink(link string) error {
	if len(link) > maxLink {
		return errors.New("must be at most 900 bytes")
	}
	if strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>"'\`+"`,", r) }) {
		return errors.New("must not have spaces, quotes, commas, angle brackets or other than ASCII characters")
	}
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("must be an absolute https URL (or http, in tests)")
	}
	return nil
}
