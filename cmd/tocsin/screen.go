package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// screen redraws a block of lines on a terminal; elsewhere it says a line now
// and then. It is for one goroutine.
type screen struct {
	w     io.Writer
	width int // 0 if w is no terminal
	lines int // drawn last
	said  time.Time
}

func newScreen(w io.Writer) *screen { return &screen{w: w, width: terminal(w)} }

// redraws reports whether draw has a terminal to draw on.
func (s *screen) redraws() bool { return s.width > 0 }

// draw replaces the block.
func (s *screen) draw(lines []string) {
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	b.WriteString("\x1b[J") // what is below the cursor goes
	for _, line := range lines {
		runes := []rune(line)
		b.WriteString(string(runes[:min(len(runes), s.width-1)])) // a wrapped line would count twice
		b.WriteByte('\n')
	}
	s.lines = len(lines)
	io.WriteString(s.w, b.String())
}

// say writes a line if the last one is some time ago.
func (s *screen) say(now time.Time, line string) {
	if now.Sub(s.said) >= plainEvery {
		s.said = now
		fmt.Fprintln(s.w, line)
	}
}

// close leaves the block as it is; what follows comes below it.
func (s *screen) close() { s.lines = 0 }
