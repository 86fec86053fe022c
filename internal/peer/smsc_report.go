package peer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// smscDeliver is a deliver_sm that the engine has to acknowledge: a delivery report,
// or a message from a phone.
type smscDeliver struct {
	body []byte
	// report is false for a message from a phone.
	report bool
}

// report is the delivery report of an accepted message, in the form of SMPP 3.4,
// appendix B.
func report(m *smscMessage) *smscDeliver {
	const layout = "0601021504"
	at := m.receipt.ReceivedAt.UTC().Format(layout)
	text := fmt.Sprintf("id:%s sub:%03d dlvrd:%03d submit date:%s done date:%s stat:DELIVRD err:000 text:",
		m.id, m.total, m.total, at, time.Now().UTC().Format(layout))
	return newSMSCDeliver(m.receipt.Target, 0x04, text, true)
}

func newSMSCDeliver(target int, esmClass int, text string, isReport bool) *smscDeliver {
	p := pdu.NewDeliverSM()
	f := p.Fields()
	f.Set(pdufield.SourceAddrTON, 1) // numbers and strings can always be set
	f.Set(pdufield.SourceAddrNPI, 1)
	f.Set(pdufield.SourceAddr, PhoneNumber(target)[1:])
	f.Set(pdufield.ESMClass, esmClass)
	f.Set(pdufield.ShortMessage, pdutext.GSM7(text))
	// The codec would write its two fields for a user data header even without one.
	var b bytes.Buffer
	for _, name := range pdu.NewSubmitSM(nil).FieldList() {
		if f[name] == nil {
			f.Set(name, nil)
		}
		f[name].SerializeTo(&b)
	}
	return &smscDeliver{body: b.Bytes(), report: isReport}
}

// Say sends a text from the phone of target n, over any bind, or the next one if
// there is none.
func (s *SMSC) Say(n int, text string) { s.dispatch(newSMSCDeliver(n, 0, text, false)) }

// dispatch sends over any bind, or keeps for the next.
func (s *SMSC) dispatch(d *smscDeliver) {
	s.mu.Lock()
	var via *smscLink
	for l := range s.links {
		if l.bound {
			via = l
			break
		}
	}
	if via == nil {
		s.kept = append(s.kept, d)
	}
	s.mu.Unlock()
	if via != nil {
		via.deliver(d)
		via.flush()
	}
}

// bound notes that a link may be used, and hands it what was kept.
func (s *SMSC) bound(l *smscLink) {
	s.mu.Lock()
	l.bound = true
	kept := s.kept
	s.kept = nil
	s.mu.Unlock()
	for _, d := range kept {
		l.deliver(d)
	}
}

// deliver sends a deliver_sm; it is sent again until it is acknowledged.
func (l *smscLink) deliver(d *smscDeliver) {
	l.mu.Lock()
	if l.awaited == nil {
		l.mu.Unlock()
		l.smsc.dispatch(d)
		return
	}
	l.sequence++
	l.awaited[l.sequence] = d
	l.write(pdu.DeliverSMID, 0, l.sequence, d.body)
	l.mu.Unlock()
	if d.report {
		l.smsc.reports.sent.Add(1)
	}
}

// redeliverAfter is how soon a deliver_sm that was put off comes again.
const redeliverAfter = 100 * time.Millisecond

// acknowledged takes a deliver_sm_resp.
func (l *smscLink) acknowledged(sequence uint32, status pdu.Status) {
	l.mu.Lock()
	d := l.awaited[sequence]
	delete(l.awaited, sequence)
	l.mu.Unlock()
	switch {
	case d == nil:
		l.smsc.failures.note(errors.New("a deliver_sm_resp is for no deliver_sm"))
	case status != 0:
		l.smsc.reports.putOff.Add(1)
		l.smsc.handlers.Go(func() {
			select {
			case <-time.After(redeliverAfter):
				l.deliver(d)
				l.flush()
			case <-l.gone:
				l.smsc.dispatch(d)
			}
		})
	case d.report:
		l.smsc.reports.acked.Add(1)
	}
}

// settled writes the receipt of a message.
func (s *SMSC) settled(m *smscMessage, status int, at time.Time) {
	m.receipt.Status, m.receipt.AnsweredAt = status, at
	if m.receipt.ReceivedAt.IsZero() {
		m.receipt.ReceivedAt = at
	}
	s.record(m.receipt, nil)
	s.open.Add(-1)
}

// SMSCReport is what an [SMSC] has to say of itself.
type SMSCReport struct {
	*Report
	// Binds counts the binds there are.
	Binds int `json:"binds"`
	// Reports counts delivery reports: sent, each time anew; acknowledged; put
	// off by the engine.
	Reports struct {
		Sent         int `json:"sent"`
		Acknowledged int `json:"acknowledged"`
		PutOff       int `json:"put_off"`
	} `json:"delivery_reports"`
}

// Report judges the receipts so far. It reads all of them.
func (s *SMSC) Report() *SMSCReport {
	report := &SMSCReport{Binds: s.Binds(), Report: s.book.Report()}
	report.Reports.Sent = int(s.reports.sent.Load())
	report.Reports.Acknowledged = int(s.reports.acked.Load())
	report.Reports.PutOff = int(s.reports.putOff.Load())
	return report
}

// Control answers as that of a [Webhook] does, GET /report with an [SMSCReport].
// POST /say?target=N with a text has that phone send it.
func (s *SMSC) Control() http.Handler {
	mux := s.control(func() any { return s.Report() })
	mux.HandleFunc("POST /say", func(rw http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("target"))
		text, readErr := io.ReadAll(io.LimitReader(r.Body, 160))
		if err != nil || n < 1 || n > MaxTargets || readErr != nil {
			http.Error(rw, "say who with target=N, and what in the body", http.StatusBadRequest)
			return
		}
		s.Say(n, string(text))
		rw.WriteHeader(http.StatusNoContent)
	})
	return mux
}
