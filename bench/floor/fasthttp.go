package floor

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// FastHTTPCommand is the floor for webhooks that a bare fasthttp client makes. Its
// window counts dials, too: it is the number of goroutines.
type FastHTTPCommand struct {
	Webhooks
	Rounds
}

// Run sends, see [Result].
func (c *FastHTTPCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	total, skip, err := c.total()
	if err != nil {
		return err
	}
	story, err := NewStory(c.Incident, c.Body)
	if err != nil {
		return err
	}
	crew := &crew{lanes: c.lanes(), goroutines: c.Window, ids: newIDs(c.Incident), skip: skip, limit: c.Limit}
	for k := range total {
		crew.bodies = append(crew.bodies, story.Body(k+1))
	}
	return perform(ctx, in, out, c.Limit, crew.run)
}

// crew sends rounds with few goroutines; connections are the client's.
type crew struct {
	lanes      []lane
	goroutines int
	ids        ids
	bodies     [][]byte // by round
	skip       int      // of the rounds, not measured
	limit      time.Duration
}

func (c *crew) run(ctx context.Context) (Result, error) {
	if err := checkFiles(len(c.lanes)); err != nil {
		return Result{}, err
	}
	client := &fasthttp.Client{
		NoDefaultUserAgentHeader: true,
		DisablePathNormalizing:   true,
		MaxConnsPerHost:          1,
		MaxIdleConnDuration:      c.limit,
		Dial:                     func(to string) (net.Conn, error) { return new(Socket).connect(to) },
	}
	defer client.CloseIdleConnections()
	t := newTally(len(c.lanes) * (len(c.bodies) - c.skip))
	for k := range c.bodies {
		if k == c.skip {
			t.watch.start()
		}
		var next atomic.Int64
		var all sync.WaitGroup
		for range c.goroutines {
			all.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(c.lanes); i = int(next.Add(1)) - 1 {
					began := time.Now()
					err := context.Cause(ctx)
					if err == nil {
						err = c.tell(client, i, k)
					}
					switch {
					case err != nil:
						t.fail(err)
					case k >= c.skip:
						t.done((k-c.skip)*len(c.lanes)+i, began)
					}
				}
			})
		}
		all.Wait()
	}
	t.watch.stop()
	return t.end(ctx)
}

// tell sends the body of a round to a lane.
func (c *crew) tell(client *fasthttp.Client, i, k int) error {
	l := &c.lanes[i]
	q, a := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(q)
	defer fasthttp.ReleaseResponse(a)
	var buffer [128]byte
	q.SetRequestURI("http://" + l.to.String() + "/t/" + string(appendDigits(buffer[:0], l.first, 1)))
	h := &q.Header
	h.SetMethod(fasthttp.MethodPost)
	h.SetUserAgent(userAgent)
	h.SetContentType("application/json")
	h.SetBytesV("Webhook-Id", c.ids.append(append(buffer[:0], "msg_"...), l.first, k+1))
	h.SetBytesV("Webhook-Timestamp", appendDigits(buffer[:0], int(time.Now().Unix()), 1))
	h.Set("Webhook-Signature", signature)
	q.SetBodyRaw(c.bodies[k])
	if err := client.DoTimeout(q, a, c.limit); err != nil {
		return fmt.Errorf("a request through fasthttp: %w", err)
	}
	if status := a.StatusCode(); status < 200 || status > 299 {
		return fmt.Errorf("a peer answered %d", status)
	}
	return nil
}
