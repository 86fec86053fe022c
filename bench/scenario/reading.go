package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/tool"
)

const (
	// feedSize is how large a feed has to be before it is read, in bytes.
	feedSize     = 18 << 10
	feedPatience = 30 * time.Second
	nginx        = "nginx"
	feedPath     = "/feeds/default.atom"
)

// view is a way to read a feed.
type view struct {
	id          string
	title       string
	connections int
	conditional bool
	// quick says that quick runs have it, too.
	quick bool
}

func views() []view {
	return []view{
		{"f1.200x50", "feed GETs, 200, 50 connections", 50, false, true},
		{"f1.304x50", "feed GETs, 304, 50 connections", 50, true, false},
		{"f1.200x1000", "feed GETs, 200, 1,000 connections", 1000, false, false},
		{"f1.304x1000", "feed GETs, 304, 1,000 connections", 1000, true, false},
	}
}

// readers is f1: a feed is read as fast as it comes.
func readers() Scenario {
	// document is what the engine served last: nginx serves the same bytes.
	var document []byte
	s := Scenario{
		ID: "f1", Title: "feed GETs, 18 KB", Full: Size{Seconds: 3, Connections: 1000}, Quick: Size{Seconds: 1, Connections: 50}, FullS: 17, QuickS: 3,
		Engine: func(ctx context.Context, r *Rig, size Size) (found Found, err error) {
			found, document, err = feedEngine(ctx, r, size)
			return found, err
		},
	}
	for _, v := range views() {
		s.Results = append(s.Results, Result{ID: v.id, Title: v.title,
			Goals: []result.Goal{{Of: result.PerS, Against: nginx, Must: 0.8, Aim: 1}},
			Floors: []Floor{{nginx, func(ctx context.Context, r *Rig, size Size) (_ *result.Measurement, err error) {
				if !v.in(size) {
					return nil, nil
				}
				server, err := tool.StartNginx(document, nil)
				if errors.Is(err, tool.ErrNotInstalled) {
					err = fmt.Errorf("%w: %w", ErrLeftOut, err)
				}
				if err != nil {
					return nil, err
				}
				defer func() { err = errors.Join(err, server.Close()) }()
				return v.read(ctx, r, size, server.URL, adopt(nginx, server.Server)...)
			}}}})
	}
	return s
}

// in reports whether runs of that size have the view.
func (v *view) in(size Size) bool {
	return (v.quick || size.Seconds > 1) && v.connections <= size.Connections
}

// adopt makes a server's processes ones to be observed.
func adopt(name string, s *tool.Server) []*run.Process {
	var all []*run.Process
	for i, pid := range s.PIDs() {
		all = append(all, run.Adopt(fmt.Sprintf("%s %d", name, i), pid))
	}
	return all
}

// read reads a feed. What it costs is what it costs those who serve it.
func (v *view) read(ctx context.Context, r *Rig, size Size, url string, servers ...*run.Process) (*result.Measurement, error) {
	args := []string{"feeds", "--url", url, "--connections", strconv.Itoa(v.connections), "--duration", strconv.Itoa(size.Seconds) + "s"}
	if v.conditional {
		args = append(args, "--conditional")
	}
	m, err := r.runFloor(ctx, args, servers...)
	if err != nil {
		return nil, err
	}
	// Who is a floor elsewhere only reads here.
	m.Processes["reader"] = m.Processes["floor"]
	delete(m.Processes, "floor")
	m.CPUS, m.PeakRSSMB = 0, 0
	for _, s := range servers {
		u := m.Processes[s.Name]
		m.CPUS, m.PeakRSSMB = result.Round(m.CPUS+u.CPUS()), result.Round(m.PeakRSSMB+u.PeakRSSMB)
	}
	return m, nil
}

// feedEngine has an engine serve a feed and reads it in every way.
func feedEngine(ctx context.Context, r *Rig, size Size) (found Found, document []byte, err error) {
	public, err := run.FreeAddresses(1)
	if err != nil {
		return nil, nil, err
	}
	folder := r.Folder + "/feeds"
	defer func() { err = errors.Join(err, r.clear(folder)) }()
	e, err := r.startEngine(ctx, engineOptions{data: folder, queue: "sqlite", port: r.port, config: "public_listen: " + public[0] + "\n"})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, e.Shut()) }()
	url := "http://" + public[0] + feedPath
	if document, err = e.fill(ctx, url); err != nil {
		return nil, nil, err
	}
	found = make(Found)
	for _, v := range views() {
		if !v.in(size) {
			continue
		}
		if found[v.id], err = v.read(ctx, r, size, url, e.Process); err != nil {
			return nil, nil, err
		}
	}
	return found, document, nil
}

// fill publishes updates until the feed is large enough, and returns it.
func (e *engine) fill(ctx context.Context, url string) ([]byte, error) {
	err := e.importTargets(ctx, 1, func(b []byte, _ int) []byte {
		return append(b, `{"channel":"rss","external_id":"feed","address":"`+floor.Page+"\"}\n"...)
	})
	if err != nil {
		return nil, err
	}
	story, err := newStory("FEED-1")
	if err != nil {
		return nil, err
	}
	const most = 50 // more than a feed shows
	for n := 1; n <= most; n++ {
		event, err := eventOf(&story, floor.Page, n)
		if err != nil {
			return nil, err
		}
		if _, err := e.publish(ctx, event); err != nil {
			return nil, err
		}
		document, err := e.shows(ctx, url, strings.TrimSpace(story.Message(n)))
		if err != nil || len(document) >= feedSize {
			return document, err
		}
	}
	return nil, fmt.Errorf("the feed has less than %d bytes after %d updates", feedSize, most)
}

// shows waits until the feed has a text, and returns it.
func (e *engine) shows(ctx context.Context, url, text string) ([]byte, error) {
	for deadline := time.Now().Add(feedPatience); ; {
		document, err := e.get(ctx, url)
		if err != nil || bytes.Contains(document, []byte(text)) {
			return document, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the feed has no new update after %v", feedPatience)
		}
		if err := run.Sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// get reads a document of the public listener; none if it is not there yet.
func (e *engine) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := e.rig.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode == http.StatusNotFound {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the feed answered %s", answer.Status)
	}
	return body, nil
}
