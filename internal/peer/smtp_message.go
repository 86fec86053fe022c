package peer

import (
	"bytes"
	"errors"
	"mime"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"time"
)

// threads remembers the root that the mails of an incident to a target refer to. The
// zero value is ready.
type threads struct {
	mu     sync.Mutex
	roots  map[threadKey]string
	owners map[string]threadKey
}

type threadKey struct {
	target   int
	incident string
}

// check fails if the mails of one incident to one target would not make one thread.
func (t *threads) check(key threadKey, root string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.roots == nil {
		t.roots, t.owners = make(map[threadKey]string), make(map[string]threadKey)
	}
	if known, ok := t.roots[key]; ok && known != root {
		return errors.New("a mail refers to another root than those before it: the thread is broken")
	}
	if owner, ok := t.owners[root]; ok && owner != key {
		return errors.New("a mail refers to the root of another thread")
	}
	t.roots[key], t.owners[root] = root, key
	return nil
}

// examine reads a message to a target as a mail reader would.
func (s *SMTP) examine(target int, content []byte, now time.Time) (Receipt, error) {
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return Receipt{}, errors.New("the message has no headers that can be read")
	}
	h := m.Header
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Mime-Version", "Content-Type"} {
		if len(h[name]) != 1 {
			return Receipt{}, errors.New("the message does not have exactly one " + name)
		}
	}
	words := new(mime.WordDecoder)
	incident, err := words.DecodeHeader(h.Get("Tocsin-Incident"))
	if err != nil || incident == "" || strings.ContainsAny(incident, "\t\n") {
		return Receipt{}, errors.New("the message has no Tocsin-Incident")
	}
	sequence, err := strconv.Atoi(h.Get("Tocsin-Sequence"))
	if err != nil || sequence < 1 {
		return Receipt{}, errors.New("the message has no Tocsin-Sequence from 1 on")
	}
	subject, err := words.DecodeHeader(h.Get("Subject"))
	kind, _, typeErr := mime.ParseMediaType(h.Get("Content-Type"))
	id, root := leftOf(h.Get("Message-Id"), "msg_"), leftOf(h.Get("In-Reply-To"), "thr_")
	switch {
	case h.Get("To") != Mailbox(target):
		return Receipt{}, errors.New("the message is not to its recipient")
	case id == "":
		return Receipt{}, errors.New("the Message-ID is not msg_ and 26 characters at a domain")
	case root == "" || h.Get("References") != h.Get("In-Reply-To"):
		return Receipt{}, errors.New("the message does not refer to the root of its thread")
	case err != nil || strings.HasPrefix(subject, "Re: ") != (sequence > 1):
		return Receipt{}, errors.New("the subject is not that of a first mail, or of an answer")
	case typeErr != nil || kind != "multipart/alternative":
		return Receipt{}, errors.New("the message is not multipart/alternative")
	}
	if err := s.threads.check(threadKey{target, incident}, root); err != nil {
		return Receipt{}, err
	}
	return Receipt{Target: target, ID: id, Incident: incident, Sequence: sequence, ReceivedAt: now}, nil
}

// leftOf returns the left side of a message id that has a prefix and 26 characters
// there, "" if it is no such id.
func leftOf(id, prefix string) string {
	inner, begins := strings.CutPrefix(id, "<")
	inner, ends := strings.CutSuffix(inner, ">")
	left, right, ok := strings.Cut(inner, "@")
	if !begins || !ends || !ok || right == "" || len(left) != len(prefix)+26 || !strings.HasPrefix(left, prefix) ||
		strings.ContainsFunc(inner, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return left
}
