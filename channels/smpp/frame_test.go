package smpp

import (
	"bytes"
	"testing"

	"github.com/fiorix/go-smpp/smpp/pdu"
)

// Nothing that a centre may send breaks the reader, or makes it take more than it
// should.
func FuzzPDUs(f *testing.F) {
	f.Add(deliverSM(esmReceipt, "id:7 stat:DELIVRD", 9, idParameter, stateParameter).bytes())
	f.Add(append(deliverSM(esmUDHI, []byte{5, 0, 3, 1, 1, 1, 'S'}, 9).bytes(), frame{pdu.UnbindID, 0, 1, nil}.bytes()...))
	f.Add(frame{pdu.SubmitSMRespID, 0, 1, []byte("id")}.bytes())
	f.Add([]byte{0, 0, 0, 15, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, wire []byte) {
		a, err := newAccount(new(testConfig(nil)), testConfig(nil).Accounts[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(a, nil)
		s.in.Reset(bytes.NewReader(wire))
		answers := make(chan answer, 1)
		if _, lost := s.window.add(waiter{0, answers}); lost != "" {
			t.Fatal(lost)
		}
		s.slots <- struct{}{}
		var buf []byte
		for {
			h, body, err := readFrame(s.in, &buf)
			if err != nil {
				break
			}
			if int(h.Len) != pdu.HeaderLen+len(body) || len(body) > len(wire) {
				t.Fatalf("%d bytes of body for a length of %d", len(body), h.Len)
			}
			if h.ID == pdu.UnbindID {
				break // which reads on with a deadline
			}
			s.handle(t.Context(), h, body)
		}
		s.recorders.Wait()
		if cap(buf) > maxPDU {
			t.Errorf("a buffer of %d bytes", cap(buf))
		}
	})
}
