package floor

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// letter is the first mail of a story, without what differs from recipient to
// recipient: the address and the ids.
type letter struct {
	ids                      ids
	begin, id, thread, refer []byte
	rest                     []byte
}

const mailDomain = "example.com"

// newLetter makes the mail to target 1 have so many bytes, the final dot not counted.
func newLetter(s *Story, size int) (*letter, error) {
	l := &letter{
		ids:   newIDs(s.Incident),
		begin: []byte("From: \"Example Status\" <status@" + mailDomain + ">\r\nTo: "),
		id: fmt.Appendf(nil, "\r\nSubject: [%s] %s\r\nDate: %s\r\nMessage-ID: <msg_", Page, s.Title,
			s.UpdatedAt(1).Format(time.RFC1123Z)),
		thread: []byte("@" + mailDomain + ">\r\nIn-Reply-To: <thr_"),
		refer:  []byte("@" + mailDomain + ">\r\nReferences: <thr_"),
	}
	rest := fmt.Appendf(nil, "@%s>\r\nAuto-Submitted: auto-generated\r\nTocsin-Page: %s\r\nTocsin-Incident: %s\r\nTocsin-Sequence: 1\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_floor\"\r\n\r\n", mailDomain, Page, s.Incident)
	const part = "--=_floor\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
	rest = fmt.Appendf(rest, part+"%s\r\n\r\n%s\r\n", "plain", s.Title, s.Message(1))
	rest = fmt.Appendf(rest, part+"<!DOCTYPE html>\r\n<h1>%s</h1>\r\n<p>%s</p>\r\n", "html", s.Title, s.Message(1))
	const end = "--=_floor--\r\n"
	least := len(l.append(nil, 1)) + len(rest) + len(end) + len("\r\n")
	if size < least {
		return nil, fmt.Errorf("a mail with text and HTML has at least %d bytes; ask for more than %d", least, size)
	}
	l.rest = append(appendLines(rest, size-least+len("\r\n")), end...)
	return l, nil
}

// appendLines appends n bytes, 2 at least, of lines that a mail may have.
func appendLines(b []byte, n int) []byte {
	const line = 78
	for n > line+1 {
		b = append(append(b, bytes.Repeat([]byte("x"), line-2)...), "\r\n"...)
		n -= line
	}
	return append(append(b, bytes.Repeat([]byte("x"), n-2)...), "\r\n"...)
}

// append appends the whole mail to a target.
func (l *letter) append(b []byte, target int) []byte {
	b = append(append(b, l.begin...), peer.Mailbox(target)...)
	b = l.ids.append(append(b, l.id...), target, 1)
	b = l.ids.append(append(b, l.thread...), target, 1)
	b = l.ids.append(append(b, l.refer...), target, 1)
	return append(b, l.rest...)
}
