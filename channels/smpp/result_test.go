package smpp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
)

// The table of SMPP 3.4, section 5.1.3, by what each status means for a message.
func TestEveryStatusHasItsClass(t *testing.T) {
	classes := map[channels.Class]string{
		channels.Delivered: "ROK",
		channels.Throttled: "RMSGQFUL RTHROTTLED",
		channels.Temporary: "RINVBNDSTS RALYBND RSYSERR RBINDFAIL RINVPASWD RINVSYSID RSUBMITFAIL RINVSYSTYP RX_T_APPN " +
			"RDELIVERYFAILURE RUNKNOWNERR",
		channels.Permanent: "RINVMSGLEN RINVCMDLEN RINVCMDID RINVPRTFLG RINVREGDLVFLG RINVSRCADR RINVDSTADR RINVMSGID RCANCELFAIL " +
			"RREPLACEFAIL RINVSERTYP RINVNUMDESTS RINVDLNAME RINVDESTFLAG RINVSUBREP RINVESMCLASS RCNTSUBDL RINVSRCTON RINVSRCNPI " +
			"RINVDSTTON RINVDSTNPI RINVREPFLAG RINVNUMMSGS RINVSCHED RINVEXPIRY RINVDFTMSGID RX_P_APPN RX_R_APPN RQUERYFAIL " +
			"ROPTPARSTREAM ROPTPARNOTALLWD RINVPARLEN RMISSINGOPTPARAM RINVOPTPARAMVAL",
	}
	want := map[string]channels.Class{}
	for class, names := range classes {
		for name := range strings.FieldsSeq(names) {
			want["ESME_"+name] = class
		}
	}
	for s := pdu.Status(0); s <= 0x4FF; s++ {
		name := statusName(s)
		class, known := want[name]
		if !known {
			class = channels.Temporary
			if name != fmt.Sprintf("command_status 0x%08X", uint32(s)) {
				t.Errorf("%#x has the name %s, which is not in the table", s, name)
			}
			if s := s.Error(); !strings.HasPrefix(s, "unknown status") {
				t.Errorf("the codec knows %q, and we don't", s)
			}
		}
		if got := classOf(s); got != class {
			t.Errorf("%s is %s; want %s", name, got, class)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("never seen: %v", want)
	}
}

// hostile are centres that do something else to a submit than to take it. The times
// are those of Defaults, and pass in no time.
func TestResults(t *testing.T) {
	temporary := func(detail string) channels.Result {
		return channels.Result{Class: channels.Temporary, Detail: detail}
	}
	noBind := func(detail string) channels.Result {
		return channels.Result{Class: channels.Temporary, Detail: detail, NoConnection: true}
	}
	afterSubmit := func(then func(*centre, frame)) func(*centre) {
		return func(c *centre) {
			if !c.accept() {
				return
			}
			if f, ok := c.next(pdu.SubmitSMID); ok {
				then(c, f)
			}
		}
	}
	linger := func(c *centre) {
		for {
			if _, ok := c.read(); !ok {
				return
			}
		}
	}
	answers := func(frames ...func(frame) frame) func(*centre) {
		return afterSubmit(func(c *centre, submit frame) {
			for _, f := range frames {
				c.write(f(submit))
			}
			linger(c)
		})
	}
	status := func(s pdu.Status) func(frame) frame {
		return func(f frame) frame { return refused(f, s) }
	}
	nack := func(s pdu.Status) func(frame) frame {
		return func(f frame) frame { return frame{pdu.GenericNACKID, s, f.sequence, nil} }
	}
	for name, x := range map[string]struct {
		play func(*centre)
		want channels.Result
	}{
		"taken without an id":   {answers(func(f frame) frame { return taken(f, "") }), channels.Result{Class: channels.Delivered, Detail: accepted}},
		"taken without a body":  {answers(func(f frame) frame { return refused(f, 0) }), channels.Result{Class: channels.Delivered, Detail: accepted}},
		"taken, id of 65 bytes": {answers(func(f frame) frame { return taken(f, strings.Repeat("x", 65)) }), channels.Result{Class: channels.Delivered, Detail: accepted}},
		"taken, id of garbage":  {answers(func(f frame) frame { return taken(f, "a\nb") }), channels.Result{Class: channels.Delivered, Detail: accepted}},
		"throttled":             {answers(status(0x58)), channels.Result{Class: channels.Throttled, Detail: "ESME_RTHROTTLED"}},
		"queue full":            {answers(status(0x14)), channels.Result{Class: channels.Throttled, Detail: "ESME_RMSGQFUL"}},
		"system error":          {answers(status(0x08)), temporary("ESME_RSYSERR")},
		"no such number":        {answers(status(0x0B)), channels.Result{Class: channels.Permanent, Detail: "ESME_RINVDSTADR"}},
		"vendor's own":          {answers(status(0x401)), temporary("command_status 0x00000401")},
		"nack":                  {answers(nack(0x03)), channels.Result{Class: channels.Permanent, Detail: "ESME_RINVCMDID"}},
		"nack that says OK":     {answers(nack(0)), temporary("ESME_RUNKNOWNERR")},
		"silence":               {afterSubmit(func(c *centre, _ frame) { linger(c) }), temporary("no response in time")},
		"cut":                   {afterSubmit(func(*centre, frame) {}), temporary("link lost before the response")},
		"cut in a response":     {afterSubmit(func(c *centre, f frame) { _, _ = c.Write(taken(f, "m1").bytes()[:10]) }), temporary("link lost before the response")},
		"stalled in a response": {afterSubmit(func(c *centre, f frame) { _, _ = c.Write(taken(f, "m1").bytes()[:17]); linger(c) }),
			temporary("the peer stopped in the middle of a PDU before the response")},
		"huge length": {afterSubmit(func(c *centre, _ frame) {
			_, _ = c.Write([]byte("\xff\xff\xff\xff\x80\x00\x00\x04"))
			_, _ = c.Write(make([]byte, 8))
			linger(c)
		}),
			temporary("the peer sent an impossible PDU length before the response")},
		"65537 bytes": {afterSubmit(func(c *centre, _ frame) {
			_, _ = c.Write([]byte{0, 1, 0, 1, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0})
			linger(c)
		}),
			temporary("the peer sent an impossible PDU length before the response")},
		"length of 15": {afterSubmit(func(c *centre, _ frame) {
			_, _ = c.Write([]byte{0, 0, 0, 15, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0})
			linger(c)
		}),
			temporary("the peer sent an impossible PDU length before the response")},
		"another protocol": {afterSubmit(func(c *centre, _ frame) { _, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n")); linger(c) }),
			temporary("the peer sent an impossible PDU length before the response")},
		"unbind": {afterSubmit(func(c *centre, _ frame) { c.write(frame{pdu.UnbindID, 0, 5, nil}); linger(c) }),
			temporary("unbound by the peer before the response")},
		"unbind, then the response": {afterSubmit(func(c *centre, f frame) {
			c.write(frame{pdu.UnbindID, 0, 5, nil}, taken(f, "m1"))
			linger(c)
		}), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"}},

		"no answer to the bind":  {linger, noBind("bind: no answer in time")},
		"bind cut":               {func(c *centre) { c.read() }, noBind("bind: closed before an answer")},
		"bind, another protocol": {func(c *centre) { c.read(); _, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n")) }, noBind("the peer sent an impossible PDU length")},
		"bind, something else":   {func(c *centre) { c.read(); c.write(make([]frame, 8)...); linger(c) }, noBind("bind: the peer sent something other than an answer")},
		"wrong password":         {func(c *centre) { f, _ := c.read(); c.write(frame{pdu.BindTransceiverRespID, 0x0E, f.sequence, nil}) }, noBind("bind refused: ESME_RINVPASWD")},
		"no transceivers":        {func(c *centre) { f, _ := c.read(); c.write(frame{pdu.GenericNACKID, 0x03, f.sequence, nil}) }, noBind("bind refused: ESME_RINVCMDID")},
		"bind for somebody else": {func(c *centre) {
			f, _ := c.read()
			c.write(frame{pdu.BindTransceiverRespID, 0, f.sequence + 1, nil})
			linger(c)
		}, noBind("bind: no answer in time")},
		"outbind before the bind": {func(c *centre) { go c.write(frame{pdu.OutbindID, 0, 1, []byte("a\x00b\x00")}); c.accept(); c.takeAll() }, channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"}},
		"enquire_link, then bound": {func(c *centre) {
			f, _ := c.read()
			c.write(frame{pdu.EnquireLinkID, 0, 1, nil}, frame{pdu.BindTransceiverRespID, 0, f.sequence, nil})
			c.takeAll()
		}, channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := piped(t, nil, func(_ int, c *centre) { x.play(c) })
				got := c.Send(t.Context(), message(t, c, false))
				wantResult(t, got, x.want)
				if n := c.Accounts()[0].InFlight; n != 0 {
					t.Errorf("%d in flight after the result", n)
				}
				if strings.Contains(got.Detail, testNumber[1:]) || strings.Contains(got.Detail, testPassword) {
					t.Errorf("%q", got.Detail)
				}
			})
		})
	}
}

// Waiting for a bind takes no time from the response, nor from the wait for room.
func TestASlowBindIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, func(c *Config) { c.Accounts[0].Window = 1; c.ResponseTimeout = time.Second }, func(_ int, c *centre) {
			time.Sleep(900 * time.Millisecond)
			c.accept()
			for {
				f, ok := c.read()
				if !ok {
					return
				}
				time.Sleep(400 * time.Millisecond)
				c.write(taken(f, "m1"))
			}
		})
		results := make(chan channels.Result)
		for range 2 {
			go func() { results <- c.Send(t.Context(), message(t, c, false)) }()
		}
		for range 2 {
			wantResult(t, <-results, channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
		}
	})
}

func TestContextsThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, func(c *Config) { c.Accounts[0].Window = 1 }, func(_ int, c *centre) {
			time.Sleep(time.Second)
			c.accept()
			for {
				if _, ok := c.read(); !ok {
					return
				}
			}
		})
		for what, x := range map[string]struct {
			after time.Duration
			want  channels.Result
		}{
			"before":                {0, notSent},
			"while there's no bind": {time.Millisecond, notSent},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), x.after)
			if got := c.Send(ctx, message(t, c, false)); got != x.want {
				t.Errorf("%s: %+v", what, got)
			}
			cancel()
		}
		time.Sleep(time.Second)
		waiting := make(chan channels.Result)
		go func() { waiting <- c.Send(t.Context(), message(t, c, false)) }()
		synctest.Wait()
		// The window has no room.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantResult(t, c.Send(ctx, message(t, c, false)), notSent)
		wantResult(t, <-waiting, channels.Result{Class: channels.Temporary, Detail: "no response in time"})
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantResult(t, c.Send(ctx, message(t, c, true)),
			channels.Result{Class: channels.Temporary, Detail: "stopped while it waited for the response (0 of 3 segments accepted)"})
	})
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	c := piped(t, nil, func(_ int, c *centre) { c.accept(); c.takeAll() })
	for want, change := range map[string]func(*channels.Message){
		"the payload was not rendered by the smpp channel":    func(m *channels.Message) { m.Payload = "text" },
		"no smpp account of that name is configured":          func(m *channels.Message) { m.Provider = "else" },
		"the address is not a phone number in E.164 form":     func(m *channels.Message) { m.Address = "4915112345678" },
		"the address is not a phone number in E.164 form\x00": func(m *channels.Message) { m.Address = "+4915\x00112345678" },
	} {
		m := message(t, c, false)
		change(m)
		got := c.Send(t.Context(), m)
		if got.Detail != strings.TrimRight(want, "\x00") || got.Class == channels.Delivered {
			t.Errorf("got %+v; want %q", got, want)
		}
	}
}
