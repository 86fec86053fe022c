package dispatcher

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/tocsin/tocsin/channels"
)

// content is an update as channels render it, with what they made of it so
// far. It is shared by all holds of the update.
type content struct {
	update *channels.Update

	mu       sync.Mutex
	payloads map[rendering]*rendered
}

type rendering struct {
	channel string
	variant channels.Variant
}

type rendered struct {
	once    sync.Once
	payload channels.Payload
	err     error
}

// payload returns the update rendered for a channel and variant; the first
// caller renders, those that come meanwhile wait for it.
func (c *content) payload(name string, ch channels.Channel, v channels.Variant) (channels.Payload, error) {
	key := rendering{name, v}
	c.mu.Lock()
	r := c.payloads[key]
	if r == nil {
		r = new(rendered)
		c.payloads[key] = r
	}
	c.mu.Unlock()
	r.once.Do(func() {
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("rendering failed: %v", p)
			}
		}()
		r.payload, r.err = ch.Render(c.update.SeenBy(v.Visibility), v)
	})
	return r.payload, r.err
}

// contents keeps the updates used last. Owned by the claimer.
type contents struct {
	byUpdate map[updateKey]*list.Element
	order    *list.List // of *keptContent, used last in front
}

type updateKey struct {
	incident int64
	sequence int
}

type keptContent struct {
	key     updateKey
	content *content
}

// contentsKept bounds the updates kept besides those in use.
const contentsKept = 128

func newContents() *contents {
	return &contents{byUpdate: make(map[updateKey]*list.Element), order: list.New()}
}

// get returns an update's content, loading it where it isn't kept.
func (c *contents) get(key updateKey, load func() (*channels.Update, error)) (*content, error) {
	if e := c.byUpdate[key]; e != nil {
		c.order.MoveToFront(e)
		return e.Value.(*keptContent).content, nil
	}
	u, err := load()
	if err != nil {
		return nil, err
	}
	k := &keptContent{key, &content{update: u, payloads: make(map[rendering]*rendered)}}
	c.byUpdate[key] = c.order.PushFront(k)
	if c.order.Len() > contentsKept {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.byUpdate, last.Value.(*keptContent).key)
	}
	return k.content, nil
}
