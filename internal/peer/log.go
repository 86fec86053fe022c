package peer

import (
	"fmt"
	"io"
	"os"
	"sync"
)

const chunkSize = 1 << 20

// receiptLog keeps receipts as the lines of [Receipt.AppendText], so that what
// is in memory, in the file and on the control endpoint are the same bytes and
// an offset means the same in all of them.
type receiptLog struct {
	mu     sync.Mutex
	chunks [][]byte // all but the last are full
	size   int64

	grown chan struct{} // capacity 1: the file has something to catch up with
	done  chan error    // the file's goroutine has ended
}

// newReceiptLog returns a log that is written to file as well, unless the name
// is empty.
func newReceiptLog(file string) (*receiptLog, error) {
	l := &receiptLog{grown: make(chan struct{}, 1), done: make(chan error, 1)}
	if file == "" {
		l.done <- nil
		return l, nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("receipts file: %w", err)
	}
	go func() { l.done <- l.follow(f) }()
	return l, nil
}

// append adds whole lines. It must not be called after close.
func (l *receiptLog) append(lines []byte) {
	l.mu.Lock()
	for rest := lines; len(rest) > 0; {
		last := len(l.chunks) - 1
		if last < 0 || len(l.chunks[last]) == chunkSize {
			l.chunks = append(l.chunks, make([]byte, 0, chunkSize))
			last++
		}
		n := min(len(rest), chunkSize-len(l.chunks[last]))
		l.chunks[last] = append(l.chunks[last], rest[:n]...)
		rest = rest[n:]
	}
	l.size += int64(len(lines))
	l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
}

// end returns the offset after the last line.
func (l *receiptLog) end() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// section returns the lines from an offset to what is now the end.
func (l *receiptLog) section(from int64) *io.SectionReader {
	return io.NewSectionReader(l, from, l.end()-from)
}

// ReadAt reads from an offset; it may return fewer bytes than asked for only at
// the end, with io.EOF.
func (l *receiptLog) ReadAt(p []byte, off int64) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n < len(p) && off < l.size {
		copied := copy(p[n:], l.chunks[off/chunkSize][off%chunkSize:])
		n += copied
		off += int64(copied)
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// follow writes the log to f until it is closed. The lines that came while the
// last write ran go out in one write. They are not synced: the file has to
// outlive the death of processes, not of the machine.
func (l *receiptLog) follow(f *os.File) error {
	var written int64
	for range l.grown {
		n, err := io.Copy(f, l.section(written))
		written += n
		if err != nil {
			f.Close()
			return fmt.Errorf("receipts file: %w", err)
		}
	}
	return f.Close()
}

// close ends the log and returns what went wrong with its file, if anything.
func (l *receiptLog) close() error {
	close(l.grown) // a token left in it is still received, so the end is written
	return <-l.done
}
