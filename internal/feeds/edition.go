package feeds

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// Edition is what one feed says at one time. It doesn't change.
type Edition struct {
	documents [Formats]*document
	private   bool
}

// document is an edition in one format.
type document struct {
	contentType, cacheControl []byte
	private                   bool
	plain, gzip               *representation

	// changed and modified, its text, are to the second. again says that the
	// document before changed in the same second: then who knows a document of
	// that second may know the wrong one.
	changed  time.Time
	modified []byte
	again    bool
}

// representation is a document as it travels.
type representation struct {
	body, etag []byte
	wholes     wholes
}

// edition makes an edition of c. It takes over what is the same in the one before.
func (s *Shelf) edition(c Content, before *Edition) *Edition {
	e := &Edition{private: c.Private}
	changed := c.Now
	if before == nil && !c.NewsAt.IsZero() {
		changed = c.NewsAt
	}
	for f := range Formats {
		var old *document
		if before != nil {
			old = before.documents[f]
		}
		if old != nil && old.private == c.Private && bytes.Equal(old.plain.body, c.Bodies[f]) {
			e.documents[f] = old
			continue
		}
		e.documents[f] = s.document(f, c.Bodies[f], c.Private, changed.UTC().Truncate(time.Second), old)
	}
	return e
}

func (s *Shelf) document(f Format, body []byte, private bool, changed time.Time, old *document) *document {
	d := &document{contentType: []byte(f.ContentType()), private: private, cacheControl: []byte("public, max-age=60"), changed: changed}
	if private {
		d.cacheControl = []byte("private, max-age=60")
	}
	if old != nil && !changed.After(old.changed) {
		d.changed, d.again = old.changed, true // clocks may be set back, Last-Modified may not
	}
	d.modified = []byte(d.changed.Format(http.TimeFormat))
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:16])
	d.plain = &representation{body: body, etag: []byte(`"` + tag + `"`)}
	d.gzip = &representation{body: s.compress(body), etag: []byte(`"` + tag + `-gzip"`)}
	return d
}

func (s *Shelf) compress(body []byte) []byte {
	var out bytes.Buffer
	w := s.writers.Get().(*gzip.Writer)
	defer s.writers.Put(w)
	w.Reset(&out)
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil { // a buffer takes everything
		panic(fmt.Sprintf("feeds: compress in memory: %v", err))
	}
	return bytes.Clone(out.Bytes())
}
