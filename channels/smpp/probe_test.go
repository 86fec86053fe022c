package smpp

import (
	"context"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/peer"
)

func probeDialer(t *testing.T) *egress.Dialer {
	t.Helper()
	policy, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	budget := egress.NewBudget(10, time.Minute)
	t.Cleanup(func() {
		budget.Close()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d descriptors are still taken", n)
		}
	})
	return egress.NewDialer(egress.Config{Policy: policy, Gate: egress.NewGate(4, 4), Budget: budget})
}

// playing listens for one connection, which play has, and returns the account there.
func playing(t *testing.T, play func(c *centre)) Account {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		play(newCentre(conn))
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return Account{Name: "acme", URL: "smpp://tocsin:" + testPassword + "@" + l.Addr().String(), Source: "STATUS", Window: 10, Binds: 1}
}

func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		play      func(c *centre)
		exclusive bool
		want      Probed
		says      string
		heard     []pdu.ID
	}{
		"all well": {
			play: func(c *centre) { c.accept() },
			want: Probed{Connected: true, Bound: true, Unbound: true}, heard: []pdu.ID{pdu.UnbindID},
		},
		"exclusive": {exclusive: true, want: Probed{Connected: true}},
		"wrong password": {
			play: func(c *centre) {
				f, _ := c.next(pdu.BindTransceiverID)
				c.write(frame{pdu.BindTransceiverRespID, 0x0E, f.sequence, nil})
			},
			want: Probed{Connected: true, Refused: true}, says: "bind refused: ESME_RINVPASWD",
		},
		"bound already": {
			play: func(c *centre) {
				f, _ := c.next(pdu.BindTransceiverID)
				c.write(frame{pdu.BindTransceiverRespID, 0x05, f.sequence, nil})
			},
			want: Probed{Connected: true, Refused: true, Taken: true}, says: "ESME_RALYBND",
		},
		"hangs up": {
			play: func(c *centre) { c.next(pdu.BindTransceiverID); c.Close() },
			want: Probed{Connected: true}, says: "bind: closed before an answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan []pdu.ID, 1)
			account := playing(t, func(c *centre) {
				if tc.play != nil {
					tc.play(c)
				}
				var ids []pdu.ID
				for {
					f, ok := c.read()
					if !ok {
						heard <- ids
						return
					}
					ids = append(ids, f.id)
					if f.id == pdu.UnbindID {
						c.write(frame{pdu.UnbindRespID, 0, f.sequence, nil})
					}
				}
			})
			account.Exclusive = tc.exclusive
			got, err := Probe(t.Context(), testConfig(nil), account, probeDialer(t))
			if got != tc.want {
				t.Errorf("found %+v, want %+v", got, tc.want)
			}
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
			if ids := <-heard; !reflect.DeepEqual(ids, tc.heard) {
				t.Errorf("after the bind the centre heard %v, want %v", ids, tc.heard)
			}
		})
	}
}

// A receipt that the centre hands to a bind that is only tried is kept by it for the
// engine.
func TestProbeTakesNoReceipt(t *testing.T) {
	status := make(chan pdu.Status, 1)
	account := playing(t, func(c *centre) {
		f, ok := c.next(pdu.BindTransceiverID)
		if !ok {
			return
		}
		c.write(frame{pdu.BindTransceiverRespID, 0, f.sequence, []byte("centre\x00")}, deliverSM(esmReceipt, "id:7 stat:DELIVRD", 9))
		answered, _ := c.next(pdu.DeliverSMRespID)
		status <- answered.status
	})
	config := testConfig(func(c *Config) {
		c.Receipt = func(context.Context, Receipt) error { t.Error("a receipt was recorded"); return nil }
	})
	if _, err := Probe(t.Context(), config, account, probeDialer(t)); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != statusTemporaryError {
		t.Errorf("the receipt was answered with status %#x, want %#x: the centre would not send it again", got, statusTemporaryError)
	}
}

func TestProbeOfTheCentreInOurTests(t *testing.T) {
	smsc, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer smsc.Close()
	account := Account{Name: "acme", URL: smsc.URL(), Source: "STATUS", Window: 10, Binds: 1}
	if got, err := Probe(t.Context(), testConfig(nil), account, probeDialer(t)); err != nil || !got.Unbound {
		t.Errorf("found %+v, %v", got, err)
	}
	account.URL = strings.Replace(account.URL, testPassword, "other", 1)
	if got, err := Probe(t.Context(), testConfig(nil), account, probeDialer(t)); err == nil || !got.Refused {
		t.Errorf("with a wrong password: found %+v, %v", got, err)
	}
	if len(smsc.Receipts()) > 0 {
		t.Error("a message was sent")
	}
}

func TestProbeOfNothing(t *testing.T) {
	account := playing(t, nil)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	account.URL = "smpp://tocsin:" + testPassword + "@" + l.Addr().String()
	l.Close()
	if got, err := Probe(t.Context(), testConfig(nil), account, probeDialer(t)); err == nil || err.Error() != "connect: refused" || got != (Probed{}) {
		t.Errorf("found %+v, %v", got, err)
	}
	account.URL = "smpp://tocsin@"
	if _, err := Probe(t.Context(), testConfig(nil), account, probeDialer(t)); err == nil || !strings.Contains(err.Error(), `account "acme": url:`) {
		t.Errorf("got %v", err)
	}
}
