package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Receipt is one request, mail, short message or feed entry as a peer saw it.
type Receipt struct {
	// Target is the number of the target: see [TargetURL], [Mailbox],
	// [PhoneNumber] and [FeedName].
	Target int
	// ID is the idempotency key, such as the webhook-id header.
	ID       string
	Incident string
	Sequence int
	// Status is what was answered, in the numbers of HTTP or, for mail, of SMTP;
	// 0 if nothing was, because the peer is silent or the client left before its
	// answer.
	Status int
	// ReceivedAt is when the request was read in full, AnsweredAt when its
	// answer left or, with Status 0, when the connection ended.
	ReceivedAt, AnsweredAt time.Time
}

// Accepted reports whether the peer answered 2xx.
func (r Receipt) Accepted() bool { return r.Status >= 200 && r.Status < 300 }

// AppendText appends the receipt as one line of the receipts file: target,
// sequence, status, received, answered (Unix nanoseconds), id and incident,
// separated by tabs, with a line feed. ID and Incident must not hold either.
func (r Receipt) AppendText(b []byte) ([]byte, error) {
	if strings.ContainsAny(r.ID+r.Incident, "\t\n") {
		return b, errors.New("a receipt's id or incident holds a tab or a line feed")
	}
	b = strconv.AppendInt(b, int64(r.Target), 10)
	for _, n := range [...]int64{int64(r.Sequence), int64(r.Status), r.ReceivedAt.UnixNano(), r.AnsweredAt.UnixNano()} {
		b = append(b, '\t')
		b = strconv.AppendInt(b, n, 10)
	}
	b = append(b, '\t')
	b = append(b, r.ID...)
	b = append(b, '\t')
	b = append(b, r.Incident...)
	return append(b, '\n'), nil
}

// MarshalText is AppendText.
func (r Receipt) MarshalText() ([]byte, error) { return r.AppendText(nil) }

// UnmarshalText reads one line, with or without its line feed.
func (r *Receipt) UnmarshalText(line []byte) error {
	text := strings.TrimSuffix(string(line), "\n")
	fields := strings.Split(text, "\t")
	if len(fields) != 7 || strings.Contains(text, "\n") {
		return errors.New("a receipt must be one line of seven fields")
	}
	var n [5]int64
	for i := range n {
		v, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil || v < 0 || i < 3 && v > 1<<31-1 {
			return fmt.Errorf("field %d of a receipt must be a whole number in its range", i+1)
		}
		n[i] = v
	}
	*r = Receipt{Target: int(n[0]), Sequence: int(n[1]), Status: int(n[2]), ReceivedAt: time.Unix(0, n[3]),
		AnsweredAt: time.Unix(0, n[4]), ID: fields[5], Incident: fields[6]}
	return nil
}

// ReadReceipts calls yield for each receipt of a file or of an answer of the
// control endpoint. A last line without a line feed was being written when its
// writer died: it is left out.
func ReadReceipts(r io.Reader, yield func(Receipt)) error {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receipts, line %d: %w", n, err)
		}
		var receipt Receipt
		if err := receipt.UnmarshalText(line); err != nil {
			return fmt.Errorf("receipts, line %d: %w", n, err)
		}
		yield(receipt)
	}
}
