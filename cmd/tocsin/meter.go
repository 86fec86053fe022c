package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
)

// plainEvery is how often progress is told where it can't be redrawn.
const plainEvery = 2 * time.Second

// meter shows how much of something is done: a bar on a terminal, otherwise a
// line now and then. It is for one goroutine.
type meter struct {
	w        io.Writer
	verb     string
	bar      *progressbar.ProgressBar
	told     time.Time
	max, now int
}

// newMeter shows progress towards max, which set may change.
func newMeter(w io.Writer, verb string, max int) *meter {
	m := &meter{w: w, verb: verb, told: time.Now(), max: max}
	if width := terminal(w); width > 0 {
		m.bar = progressbar.NewOptions(max, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(verb),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(min(40, width/3)), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionUseANSICodes(true))
	}
	return m
}

// set says that now of max are done.
func (m *meter) set(now, max int) {
	m.now = now
	switch {
	case m.bar != nil:
		if max != m.max {
			m.bar.ChangeMax(max)
		}
		_ = m.bar.Set(now) // a terminal that went away is no failure
	case time.Since(m.told) >= plainEvery:
		m.told = time.Now()
		fmt.Fprintf(m.w, "%s %s of %s\n", m.verb, humanize.Comma(int64(now)), humanize.Comma(int64(max)))
	}
	m.max = max
}

// close removes the bar; it may be called twice.
func (m *meter) close() {
	if m.bar != nil {
		_ = m.bar.Clear()
		m.bar = nil
	}
}

// metered shows how much of a reader was read.
type metered struct {
	io.Reader
	m    *meter
	read int
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.read += n
	r.m.set(r.read, max(r.m.max, r.read))
	return n, err
}
