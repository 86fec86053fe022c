package peer

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"net/url"
	"strconv"
	"strings"
)

// feedEntry is what a reader takes from an entry: its id, and the update it names.
type feedEntry struct {
	id       string
	incident string
	sequence int
}

const (
	// maxEntries is how many entries a feed has before it forgets the oldest.
	maxEntries = 50
	// maxFeed bounds what is read of a feed, in bytes.
	maxFeed = 8 << 20
)

// readFeed reads the entries of a feed of any format.
func readFeed(contentType string, body io.Reader) ([]feedEntry, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, errors.New("a feed has no media type")
	}
	text, err := io.ReadAll(io.LimitReader(body, maxFeed))
	if err != nil {
		return nil, errors.New("a feed ends in the middle")
	}
	var ids []string
	switch media {
	case "application/atom+xml":
		ids, err = atomIDs(text)
	case "application/rss+xml":
		ids, err = rssIDs(text)
	case "application/feed+json":
		ids, err = jsonIDs(text)
	default:
		err = errors.New("a feed's media type is none of a feed")
	}
	if err != nil {
		return nil, err
	}
	entries := make([]feedEntry, 0, len(ids))
	for _, id := range ids {
		e, ok := entryOf(id)
		if !ok {
			return nil, errors.New("a feed has an entry whose id names no update")
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func atomIDs(text []byte) ([]string, error) {
	var d struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		Entries []struct {
			ID    string `xml:"http://www.w3.org/2005/Atom id"`
			Reply struct {
				Ref string `xml:"ref,attr"`
			} `xml:"http://purl.org/syndication/thread/1.0 in-reply-to"`
		} `xml:"http://www.w3.org/2005/Atom entry"`
	}
	if err := xml.Unmarshal(text, &d); err != nil {
		return nil, errors.New("a feed is no Atom")
	}
	var ids []string
	for _, e := range d.Entries {
		if e.Reply.Ref == "" || !strings.HasPrefix(e.ID, e.Reply.Ref+"/") {
			return nil, errors.New("an entry is not in its incident's thread")
		}
		ids = append(ids, e.ID)
	}
	return ids, nil
}

func rssIDs(text []byte) ([]string, error) {
	var d struct {
		XMLName xml.Name `xml:"rss"`
		IDs     []string `xml:"channel>item>guid"`
	}
	if err := xml.Unmarshal(text, &d); err != nil {
		return nil, errors.New("a feed is no RSS")
	}
	return d.IDs, nil
}

func jsonIDs(text []byte) ([]string, error) {
	var d struct {
		Version string `json:"version"`
		Items   []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if json.Unmarshal(text, &d) != nil || !strings.HasPrefix(d.Version, "https://jsonfeed.org/version/1") {
		return nil, errors.New("a feed is no JSON Feed")
	}
	var ids []string
	for _, item := range d.Items {
		ids = append(ids, item.ID)
	}
	return ids, nil
}

// entryOf reads an id such as "tag:example.com,2026:incident/default/INC-1/2".
func entryOf(id string) (e feedEntry, ok bool) {
	_, path, ok := strings.Cut(id, ":incident/")
	parts := strings.Split(path, "/")
	if !ok || len(parts) != 3 {
		return e, false
	}
	incident, err := url.PathUnescape(parts[1])
	if err != nil || incident == "" || strings.ContainsAny(id+incident, "\t\n") {
		return e, false
	}
	sequence, err := strconv.Atoi(parts[2])
	return feedEntry{id, incident, sequence}, err == nil && sequence > 0
}
