package peer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutlv"
)

func startSMSC(t *testing.T, o SMSCOptions) *SMSC {
	t.Helper()
	s, err := StartSMSC(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// esme is one bind of the engine's side.
type esme struct {
	t *testing.T
	net.Conn
	sequence uint32
}

func connectSMSC(t *testing.T, s *SMSC) *esme {
	t.Helper()
	c, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return &esme{t: t, Conn: c}
}

func bindSMSC(t *testing.T, s *SMSC) *esme {
	t.Helper()
	e := connectSMSC(t, s)
	if status := e.bind("tocsin", "secret"); status != 0 {
		t.Fatalf("bind: %v", status)
	}
	return e
}

func (e *esme) bind(id, password string) pdu.Status {
	p := pdu.NewBindTransceiver()
	p.Fields().Set(pdufield.SystemID, id)
	p.Fields().Set(pdufield.Password, password)
	e.write(p)
	return e.read().Header().Status
}

func (e *esme) write(p pdu.Body) {
	e.t.Helper()
	e.sequence++
	p.Header().Seq = e.sequence
	if err := p.SerializeTo(e); err != nil {
		e.t.Fatal(err)
	}
}

func (e *esme) read() pdu.Body {
	e.t.Helper()
	p, err := pdu.Decode(e)
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

// next skips until a PDU of that kind.
func (e *esme) next(id pdu.ID) pdu.Body {
	e.t.Helper()
	for {
		if p := e.read(); p.Header().ID == id {
			return p
		}
	}
}

// submitTo sends a message, or a part of one with a user data header.
func (e *esme) submitTo(n int, message any, esm int) {
	e.t.Helper()
	p := pdu.NewSubmitSM(nil)
	f := p.Fields()
	for name, value := range map[pdufield.Name]any{pdufield.DestAddrTON: 1, pdufield.DestAddrNPI: 1,
		pdufield.DestinationAddr: PhoneNumber(n)[1:], pdufield.RegisteredDelivery: 1, pdufield.ESMClass: esm, pdufield.ShortMessage: message} {
		if err := f.Set(name, value); err != nil {
			e.t.Fatal(err)
		}
	}
	e.write(p)
}

func (e *esme) status() pdu.Status { e.t.Helper(); return e.next(pdu.SubmitSMRespID).Header().Status }

func shortText(sequence int) pdutext.Codec {
	return pdutext.GSM7(fmt.Sprintf("[INC-1] #%d Identified", sequence))
}

// part is a segment with the header of a concatenation.
func part(reference, total, number byte, text string) []byte {
	return append([]byte{5, 0, 3, reference, total, number}, pdutext.GSM7(text).Encode()...)
}

func TestPhoneNumbers(t *testing.T) {
	for _, n := range []int{1, 900, MaxTargets} {
		if number := PhoneNumber(n); PhoneTarget(number) != n || len(number) != 12 {
			t.Errorf("target %d has the number %s, which is target %d", n, number, PhoneTarget(number))
		}
	}
	for _, other := range []string{"", "+", "+4915112345678", "99900000001", "+99900000000", "+9990000000x", "+999000000011"} {
		if n := PhoneTarget(other); n != 0 {
			t.Errorf("%q is target %d", other, n)
		}
	}
}

func TestSMSCBehaviours(t *testing.T) {
	s := startSMSC(t, SMSCOptions{Quiet: true, Script: scripted(map[int]Behaviour{
		2: {Kind: Throttled, Times: 2}, 3: {Kind: Faulty, Times: 1}, 4: {Kind: Dead}, 5: {Kind: Gone},
		6: {Kind: Slow, After: 20 * time.Millisecond}, 7: {Kind: Refusing},
	})})
	e := bindSMSC(t, s)
	for n, want := range map[int][]pdu.Status{1: {0, 0}, 2: {0x58, 0x58, 0}, 3: {0x08, 0}, 4: {0x08, 0x08}, 5: {0x0B}, 6: {0}, 7: {0x08}} {
		for i, status := range want {
			e.submitTo(n, shortText(i+1), 0)
			if got := e.status(); got != status {
				t.Errorf("message %d to target %d is answered %#x, want %#x", i+1, n, got, status)
			}
		}
	}
	s.Close()
	r := s.Report()
	if !r.Sound() || r.Requests != 12 || r.Delivered != 5 || r.Pending != 0 || len(r.Invalid) != 0 || r.Reports.Sent != 0 {
		t.Errorf("report %+v, verdict %+v", r, r.Verdict)
	}
	for _, x := range s.Receipts() {
		if x.Target == 6 && x.AnsweredAt.Sub(x.ReceivedAt) < 20*time.Millisecond {
			t.Errorf("the slow target answered early: %+v", x)
		}
	}
}

// A message is accepted when its response has gone out, and not when it is written down
// on a link that ended meanwhile.
func TestSMSCCutBeforeItsResponse(t *testing.T) {
	var s *SMSC
	s = startSMSC(t, SMSCOptions{Quiet: true, Script: func(int) Behaviour {
		s.CutAll()
		return Behaviour{}
	}})
	bindSMSC(t, s).submitTo(1, shortText(1), 0)
	for s.Connections() > 0 || s.Open() > 0 || len(s.Receipts()) == 0 {
		runtime.Gosched()
	}
	if all := s.Receipts(); len(all) != 1 || all[0].Status != 0 {
		t.Errorf("receipts: %+v", all)
	}
}

// All parts make one receipt; a retry is the same delivery only under the same
// reference; what ends half-way was not answered.
func TestSMSCPutsMessagesTogether(t *testing.T) {
	s := startSMSC(t, SMSCOptions{Quiet: true, Script: scripted(map[int]Behaviour{2: {Kind: Throttled, Times: 1}, 3: {Kind: Silent}})})
	e := bindSMSC(t, s)
	parts := func(n int, reference byte, want pdu.Status) {
		t.Helper()
		for i, text := range []string{"[INC-1] #3 Identified", "more {", "}"} {
			e.submitTo(n, part(reference, 3, byte(i+1), text), 0x40)
		}
		for range 3 {
			if got := e.status(); got != want {
				t.Errorf("a part to target %d is answered %#x, want %#x", n, got, want)
			}
		}
	}
	parts(1, 7, 0)
	parts(2, 8, 0x58)
	parts(2, 8, 0)
	e.submitTo(3, part(9, 2, 1, "[INC-1] #1 x"), 0x40) // silent
	e.submitTo(4, part(9, 2, 1, "[INC-1] #1 x"), 0x40) // given up, begun anew, and given up
	e.status()
	e.submitTo(4, part(9, 2, 1, "[INC-1] #1 x"), 0x40)
	e.status()
	e.Close()
	s.Close()
	r := s.Report()
	if !r.Sound() || r.Requests != 6 || r.Delivered != 2 || r.Unanswered != 3 || r.Pending != 0 || len(r.Invalid) != 0 {
		t.Errorf("report %+v, verdict %+v", r, r.Verdict)
	}
	again := startSMSC(t, SMSCOptions{Quiet: true, Script: scripted(map[int]Behaviour{2: {Kind: Throttled, Times: 1}})})
	e = bindSMSC(t, again)
	parts(2, 8, 0x58)
	parts(2, 9, 0)
	again.Close()
	if r := again.Report(); r.IDFaults != 1 {
		t.Errorf("a retry under another reference is not found: %+v", r.Verdict)
	}
}

func TestSMSCRefusesWhatNoPhoneWouldShow(t *testing.T) {
	s := startSMSC(t, SMSCOptions{Quiet: true})
	e := bindSMSC(t, s)
	escape := append([]byte("[INC-1] #1 "), 0x1B)
	surrogate := pdutext.UCS2("[INC-1] #1 😀").Encode()
	submits := []func(){
		func() { e.submitTo(1, pdutext.GSM7("hello"), 0) },
		func() { e.submitTo(1, pdutext.GSM7("[INC-1] Identified"), 0) },
		func() { e.submitTo(1, pdutext.GSM7("[INC-1] #0 x"), 0) },
		func() { e.submitTo(1, "", 0) },
		func() { e.submitTo(1, "[INC-1] #1 "+strings.Repeat("x", 150), 0) },
		func() { e.submitTo(1, escape, 0) },
		func() { e.submitTo(1, []byte("[INC-1] #1 \xff"), 0) },
		func() { e.submitTo(1, part(1, 2, 2, "[INC-1] #1 x"), 0x40) },
		func() { e.submitTo(1, part(1, 11, 1, "[INC-1] #1 x"), 0x40) },
		func() { e.submitTo(1, []byte("[INC-1] #1 x"), 0x40) },
		func() { e.submitTo(0, shortText(1), 0) },
		func() { // a surrogate cut in two
			p := pdu.NewSubmitSM(nil)
			f := p.Fields()
			f.Set(pdufield.DestAddrTON, 1)
			f.Set(pdufield.DestAddrNPI, 1)
			f.Set(pdufield.DestinationAddr, PhoneNumber(1)[1:])
			f.Set(pdufield.ShortMessage, surrogate[:len(surrogate)-2])
			f.Set(pdufield.DataCoding, 8)
			e.write(p)
		},
		func() { // both forms at once
			p := pdu.NewSubmitSM(pdutlv.Fields{pdutlv.TagMessagePayload: "[INC-1] #1 x"})
			f := p.Fields()
			f.Set(pdufield.DestAddrTON, 1)
			f.Set(pdufield.DestAddrNPI, 1)
			f.Set(pdufield.DestinationAddr, PhoneNumber(1)[1:])
			f.Set(pdufield.ShortMessage, "[INC-1] #1 x")
			e.write(p)
		},
	}
	for i, submit := range submits {
		submit()
		if got := e.status(); got != 0x45 {
			t.Errorf("submit %d is answered %#x", i, got)
		}
	}
	s.Close()
	invalid := 0
	for _, n := range s.Report().Invalid {
		invalid += n
	}
	if r := s.Report(); invalid != len(submits) || r.Requests != 0 || r.Pending != 0 {
		t.Errorf("%d invalid; report %+v %v", invalid, r.Verdict, r.Invalid)
	}
}

func TestSMSCWantsThePassword(t *testing.T) {
	s := startSMSC(t, SMSCOptions{SystemID: "a", Password: "b"})
	if got := connectSMSC(t, s).bind("a", "c"); got != 0x0E {
		t.Errorf("a wrong password is answered %#x", got)
	}
	if got := connectSMSC(t, s).bind("a", "b"); got != 0 || s.Binds() != 1 {
		t.Errorf("the right one is answered %#x; %d binds", got, s.Binds())
	}
	if s.URL() != fmt.Sprintf("smpp://a:b@127.0.0.1:%d", s.Port()) {
		t.Error(s.URL())
	}
}

// A report comes until it is acknowledged, over the next bind if need be, and what a
// phone says too.
func TestSMSCDeliversUntilAcknowledged(t *testing.T) {
	s := startSMSC(t, SMSCOptions{})
	e := bindSMSC(t, s)
	e.submitTo(1, shortText(1), 0)
	id := e.next(pdu.SubmitSMRespID).Fields()[pdufield.MessageID].String()
	acknowledge := func(p pdu.Body, status pdu.Status) {
		t.Helper()
		if text := p.Fields()[pdufield.ShortMessage].String(); !strings.HasPrefix(text, "id:"+id+" ") || p.Fields()[pdufield.ESMClass].String() != "4" {
			t.Errorf("the report is %q", text)
		}
		r := pdu.NewDeliverSMRespSeq(p.Header().Seq)
		r.Header().Status = status
		if err := r.SerializeTo(e); err != nil {
			t.Fatal(err)
		}
	}
	acknowledge(e.next(pdu.DeliverSMID), 0x64)
	e.next(pdu.DeliverSMID) // comes again, and is not answered
	e.Close()
	e = bindSMSC(t, s) // perhaps before the end of the other is noticed
	acknowledge(e.next(pdu.DeliverSMID), 0)
	s.Say(7, "STOP")
	p := e.next(pdu.DeliverSMID)
	if p.Fields()[pdufield.ShortMessage].String() != "STOP" || "+"+p.Fields()[pdufield.SourceAddr].String() != PhoneNumber(7) || p.Fields()[pdufield.ESMClass].String() != "0" {
		t.Errorf("the phone said %v", p.Fields())
	}
	e.write(pdu.NewEnquireLink()) // its answer says that what came before was read
	e.next(pdu.EnquireLinkRespID)
	s.Close()
	if r := s.Report().Reports; r.Sent != 3 || r.Acknowledged != 1 || r.PutOff != 1 {
		t.Errorf("%+v", r)
	}
}

func TestSMSCSpeaksTheProtocol(t *testing.T) {
	s := startSMSC(t, SMSCOptions{})
	e := bindSMSC(t, s)
	e.write(pdu.NewEnquireLink())
	if got := e.read().Header(); got.ID != pdu.EnquireLinkRespID || got.Seq != e.sequence {
		t.Errorf("%+v", got)
	}
	e.write(pdu.NewQuerySM())
	if got := e.read().Header(); got.ID != pdu.GenericNACKID || got.Status != 3 {
		t.Errorf("%+v", got)
	}
	e.write(pdu.NewUnbind())
	if got := e.read().Header(); got.ID != pdu.UnbindRespID {
		t.Errorf("%+v", got)
	}
	if _, err := e.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after unbind: %v", err)
	}
	huge := connectSMSC(t, s)
	huge.Write(binary.BigEndian.AppendUint32(nil, 1<<31))
	huge.Write(make([]byte, 12))
	if _, err := huge.Read(make([]byte, 1)); err == nil {
		t.Error("a length of 2 GiB is taken")
	}
}

func TestSMSCUnbinds(t *testing.T) {
	s := startSMSC(t, SMSCOptions{Quiet: true})
	s.Unbind() // nobody
	e := bindSMSC(t, s)
	s.Unbind()
	unbind := e.next(pdu.UnbindID)
	e.submitTo(1, shortText(1), 0)
	if got := e.status(); got != 0 {
		t.Errorf("a message before the response: %v", got)
	}
	response := pdu.NewUnbindResp()
	response.Header().Seq = unbind.Header().Seq
	e.write(response)
	if _, err := e.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the response: %v", err)
	}
}

func TestSMSCControl(t *testing.T) {
	s := startSMSC(t, SMSCOptions{Quiet: true})
	control := httptest.NewServer(s.Control())
	defer control.Close()
	e := bindSMSC(t, s)
	e.submitTo(1, shortText(2), 0)
	e.status()
	var lines []byte
	var from string
	for len(lines) == 0 { // the receipt is written right after the answer
		r, err := control.Client().Get(control.URL + "/receipts?from=0")
		if err != nil {
			t.Fatal(err)
		}
		lines, _ = io.ReadAll(r.Body)
		r.Body.Close()
		from = r.Header.Get(NextHeader)
	}
	var got Receipt
	if err := got.UnmarshalText(lines); err != nil || got.Sequence != 2 || got.Status != 200 || got.Incident != "INC-1" || from != fmt.Sprint(len(lines)) {
		t.Errorf("%q: %+v, %v, next %s", lines, got, err, from)
	}
	for path, want := range map[string]int{"/receipts?from=999999": 400, "/report": 200} {
		r, err := control.Client().Get(control.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var report SMSCReport
		if r.StatusCode != want || want == 200 && (json.NewDecoder(r.Body).Decode(&report) != nil || report.Delivered != 1 || report.Binds != 1) {
			t.Errorf("%s: %d, %+v", path, r.StatusCode, report)
		}
		r.Body.Close()
	}
	for path, want := range map[string]int{"/say?target=1": http.StatusNoContent, "/say?target=0": http.StatusBadRequest} {
		r, err := control.Client().Post(control.URL+path, "text/plain", bytes.NewReader([]byte("STOP")))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if text := e.next(pdu.DeliverSMID).Fields()[pdufield.ShortMessage].String(); text != "STOP" {
		t.Errorf("the phone said %q", text)
	}
}
