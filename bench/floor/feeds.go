package floor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/tool"
)

// FeedsCommand reads a feed as fast as it comes, with wrk. It is the same for the
// engine and for nginx, whose figure is the floor.
type FeedsCommand struct {
	URL         string        `required:"" name:"url" help:"The feed."`
	Connections int           `default:"50" help:"Connections, which are kept."`
	Duration    time.Duration `default:"5s" help:"For how long, in whole seconds."`
	Conditional bool          `help:"Ask for what has changed (If-None-Match), so that the answers are 304."`
	Limit       time.Duration `default:"2m" help:"Give up after this."`
}

// Run reads, see [Result]: its deliveries are answers. Errors are answers other than
// 200 or 304 and connections that failed.
func (c *FeedsCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" || !loopback(u.Host) {
		return errors.New("the feed must be at an address and port of this machine, as in http://127.0.0.1:8080/feeds/default.atom")
	}
	if c.Connections < 1 || c.Duration < time.Second || c.Duration%time.Second != 0 {
		return errors.New("there are 1 or more connections, for 1 or more whole seconds")
	}
	program, err := tool.Find("wrk", "wrk")
	if err != nil {
		return err
	}
	return perform(ctx, in, out, c.Limit, func(ctx context.Context) (Result, error) {
		sample, err := c.sample(ctx)
		if err != nil {
			return Result{}, err
		}
		threads := min(runtime.NumCPU(), c.Connections)
		args := []string{"--latency", "-t", strconv.Itoa(threads), "-c", strconv.Itoa(c.Connections),
			"-d", strconv.Itoa(int(c.Duration/time.Second)) + "s"}
		if sample.etag != "" {
			args = append(args, "-H", "If-None-Match: "+sample.etag)
		}
		var said bytes.Buffer
		watch, err := runProgram(ctx, &said, program, append(args, c.URL)...)
		if err != nil {
			return Result{}, err
		}
		w, err := parseWrk(said.String())
		if err != nil {
			return Result{}, err
		}
		return w.result(watch, sample)
	})
}

// sample is one answer as all of them should be.
type sample struct {
	body int    // bytes
	etag string // asked with
}

// sample gets the feed once, or twice to see that it says that nothing has changed.
func (c *FeedsCommand) sample(ctx context.Context) (sample, error) {
	status, body, etag, err := c.get(ctx, "")
	if err != nil {
		return sample{}, err
	}
	if status != http.StatusOK || body == 0 {
		return sample{}, fmt.Errorf("the feed answered %d with %d bytes", status, body)
	}
	if !c.Conditional {
		return sample{body: body}, nil
	}
	if etag == "" {
		return sample{}, errors.New("the feed has no ETag to ask with")
	}
	status, body, _, err = c.get(ctx, etag)
	if err == nil && status != http.StatusNotModified {
		err = fmt.Errorf("the feed answered %d to its own ETag, not 304", status)
	}
	return sample{body: body, etag: etag}, err
}

func (c *FeedsCommand) get(ctx context.Context, etag string) (status, body int, tag string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return 0, 0, "", err
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	// As wrk asks: without Accept-Encoding, and through no proxy.
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, 0, "", fmt.Errorf("read the feed: %w", err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, int(n), answer.Header.Get("Etag"), err
}

// loopback reports whether an address with a port is one of this machine.
func loopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().IsLoopback() && at.Port() != 0
}
