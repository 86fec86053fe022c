package floor

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// SMPPCommand is the floor for SMS (SMPP 3.4): one bind, one write for each PDU, and
// as many submit_sm without an answer as the window allows.
type SMPPCommand struct {
	Port     int           `required:"" help:"Port of the SMS centre."`
	Count    int           `default:"100000" help:"Messages, each to a phone of its own."`
	Window   int           `default:"100" help:"Messages that wait for their answer at once."`
	Text     int           `default:"120" help:"Bytes of a message, 160 at most, each a character of the default alphabet."`
	Incident string        `default:"FLOOR-1" help:"The incident. Take another for each run against one peer."`
	SystemID string        `default:"tocsin" help:"Who binds."`
	Password string        `default:"secret" help:"Its password."`
	Receipts bool          `help:"Ask for delivery receipts, and acknowledge those that come before the last answer."`
	Limit    time.Duration `default:"2m" help:"Give up after this."`
}

// Run sends, see [Result].
func (c *SMPPCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	if c.Port < 1 || c.Port > 65535 || c.Count < 1 || c.Count > peer.MaxTargets || c.Window < 1 {
		return errors.New("a port is 1 to 65535, and there are 1 or more messages and places in the window")
	}
	if err := checkIncident(c.Incident); err != nil {
		return err
	}
	// GSM 03.38 has brackets in its extension table.
	text := "\x1B<" + c.Incident + "\x1B> #1 "
	if c.Text > 160 || c.Text < len(text) {
		return fmt.Errorf("a message has %d to 160 characters", len(text))
	}
	text += strings.Repeat("x", c.Text-len(text))
	return perform(ctx, in, out, c.Limit, (&texter{SMPPCommand: c, text: text}).run)
}

// Commands and sizes of SMPP (sections 4 and 5.1.2.1).
const (
	smppHead        = 16
	smppMost        = 4096
	bindTransceiver = 0x00000009
	submitSM        = 0x00000004
	deliverSM       = 0x00000005
	enquireLink     = 0x00000015
	unbind          = 0x00000006
	smppResponse    = 0x80000000
)

// texter sends one text to many.
type texter struct {
	*SMPPCommand
	text string
	conn net.Conn
	// began is when each message was written, in nanoseconds after start; its sequence
	// number is the index and 1.
	began []atomic.Int64
	start time.Time
	// window has a place for each message without an answer.
	window chan struct{}
	tally  *tally
}

func (x *texter) run(ctx context.Context) (Result, error) {
	x.tally = newTally(x.Count)
	x.began = make([]atomic.Int64, x.Count)
	x.window = make(chan struct{}, x.Window)
	x.tally.watch.start()
	x.start = time.Now()
	conn, err := new(Socket).connect(fmt.Sprintf("127.0.0.1:%d", x.Port))
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	x.conn = conn
	in := bufio.NewReaderSize(conn, 16<<10)
	if err := x.bind(in); err != nil {
		return Result{}, fmt.Errorf("bind: %w", err)
	}
	ended := make(chan struct{})
	go func() { // run waits for it
		defer close(ended)
		if err := x.receive(in); err != nil {
			x.tally.fail(err)
			_ = conn.Close() // submit stops
		}
	}()
	if err := x.submit(ended); err != nil {
		x.tally.fail(err)
		_ = conn.Close() // receive stops
	}
	<-ended
	x.tally.watch.stop()
	return x.tally.end(ctx)
}

// appendPDU appends a PDU with this body.
func appendPDU(b []byte, command, sequence uint32, body ...byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(smppHead+len(body)))
	b = binary.BigEndian.AppendUint32(b, command)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, sequence)
	return append(b, body...)
}

// bind binds (section 4.1.5) with a sequence number that no message has.
func (x *texter) bind(in *bufio.Reader) error {
	body := append([]byte(x.SystemID), 0)
	body = append(append(body, x.Password...), 0)
	body = append(body, 0, 0x34, 0, 0, 0) // system_type, interface_version, and no address range
	sequence := uint32(x.Count) + 1
	if _, err := x.conn.Write(appendPDU(nil, bindTransceiver, sequence, body...)); err != nil {
		return err
	}
	var buffer [smppMost]byte
	p, err := readPDU(in, &buffer)
	if err != nil {
		return err
	}
	if p.command != bindTransceiver|smppResponse || p.sequence != sequence || p.status != 0 {
		return fmt.Errorf("the SMS centre refused with status %#x", p.status)
	}
	return nil
}

// submit writes all messages, each in a write of its own.
func (x *texter) submit(ended <-chan struct{}) error {
	var b []byte
	for i := range x.Count {
		select {
		case x.window <- struct{}{}:
		case <-ended:
			return nil // receive has said why
		}
		b = x.appendSubmit(b[:0], i+1)
		x.began[i].Store(int64(time.Since(x.start)))
		if _, err := x.conn.Write(b); err != nil {
			return fmt.Errorf("write a message: %w", err)
		}
	}
	return nil
}

// appendSubmit appends the submit_sm (section 4.4.1) to a target.
func (x *texter) appendSubmit(b []byte, target int) []byte {
	begin := len(b)
	b = appendPDU(b, submitSM, uint32(target), 0, 5, 0) // no service_type; source_addr is alphanumeric
	b = append(b, "STATUS\x00\x01\x01"...)              // destination_addr is international, ISDN
	b = append(append(b, peer.PhoneNumber(target)[1:]...), 0)
	var receipt byte
	if x.Receipts {
		receipt = 1
	}
	// esm_class, protocol_id, priority_flag, schedule_delivery_time, validity_period,
	// registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id
	b = append(b, 0, 0, 0, 0, 0, receipt, 0, 0, 0, byte(len(x.text)))
	b = append(b, x.text...)
	binary.BigEndian.PutUint32(b[begin:], uint32(len(b)-begin))
	return b
}

// receive reads until every message has its answer.
func (x *texter) receive(in *bufio.Reader) error {
	var buffer [smppMost]byte
	var answer []byte
	answered := 0
	for answered < x.Count {
		p, err := readPDU(in, &buffer)
		if err != nil {
			return fmt.Errorf("wait for answers: %w", err)
		}
		switch p.command {
		case submitSM | smppResponse:
			if err := x.answered(p); err != nil {
				return err
			}
			answered++
		case deliverSM:
			answer = appendPDU(answer, deliverSM|smppResponse, p.sequence, 0)
		case enquireLink:
			answer = appendPDU(answer, enquireLink|smppResponse, p.sequence)
		case unbind:
			return errors.New("the SMS centre unbinds")
		}
		if len(answer) > 0 && (in.Buffered() == 0 || answered == x.Count) {
			if _, err := x.conn.Write(answer); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
			answer = answer[:0]
		}
	}
	return nil
}

// answered takes a submit_sm_resp. A message that was refused has failed.
func (x *texter) answered(p pdu) error {
	i := int(p.sequence) - 1
	if i < 0 || i >= x.Count || x.tally.micros[i] != 0 {
		return errors.New("an answer is to no message that waits for one")
	}
	if p.status != 0 {
		x.tally.fail(fmt.Errorf("the SMS centre answered a message with status %#x", p.status))
	} else {
		x.tally.done(i, x.start.Add(time.Duration(x.began[i].Load())))
	}
	select {
	case <-x.window:
		return nil
	default:
		return errors.New("there are more answers than messages")
	}
}

// pdu is the head of one.
type pdu struct{ command, status, sequence uint32 }

// readPDU reads a PDU, its body into the buffer.
func readPDU(r *bufio.Reader, buffer *[smppMost]byte) (pdu, error) {
	head := buffer[:smppHead]
	if _, err := io.ReadFull(r, head); err != nil {
		return pdu{}, err
	}
	length := binary.BigEndian.Uint32(head)
	p := pdu{binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])}
	if length < smppHead || length > smppMost {
		return pdu{}, errors.New("a PDU has an impossible length")
	}
	if _, err := io.ReadFull(r, buffer[smppHead:length]); err != nil {
		return pdu{}, err
	}
	return p, nil
}
