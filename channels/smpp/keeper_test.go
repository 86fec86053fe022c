package smpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// A centre that says nothing is found out by its silence to enquire_link.
func TestADeadLinkIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checked []time.Duration
		start := time.Now()
		c := piped(t, nil, func(n int, c *centre) {
			c.accept()
			for {
				f, ok := c.read()
				if !ok || n > 0 {
					return
				}
				if f.id == pdu.EnquireLinkID {
					if checked = append(checked, time.Since(start)); len(checked) == 1 {
						c.write(frame{pdu.EnquireLinkRespID, 0, f.sequence, nil})
					}
				}
			}
		})
		time.Sleep(69 * time.Second)
		if s := c.Accounts()[0]; s.Bound != 1 {
			t.Errorf("not bound any more after 69 s: %+v", s)
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if s := c.Accounts()[0]; s.Failure != string(errDead) {
			t.Errorf("%+v", s)
		}
		if len(checked) != 2 || checked[0] != 30*time.Second || checked[1] != time.Minute {
			t.Errorf("enquire_link at %v", checked)
		}
	})
}

// The link is cut with the window full: every message learns of it, and later ones
// go over the next bind.
func TestALostLinkFailsItsWindowAndIsBoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 10
		c := piped(t, nil, func(n int, c *centre) {
			c.accept()
			if n == 0 {
				for range window {
					c.next(pdu.SubmitSMID)
				}
				return
			}
			c.takeAll()
		})
		results := make(chan channels.Result)
		for range window {
			go func() { results <- c.Send(t.Context(), message(t, c, false)) }()
		}
		for range window {
			wantResult(t, <-results, channels.Result{Class: channels.Temporary, Detail: "link lost before the response"})
		}
		synctest.Wait()
		wantResult(t, c.Send(t.Context(), message(t, c, false)),
			channels.Result{Class: channels.Temporary, Detail: "link lost", NoConnection: true})
		time.Sleep(Defaults().RetryBase)
		wantResult(t, c.Send(t.Context(), message(t, c, false)), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
		if s := c.Accounts()[0]; s.Failure != "" || s.Bound != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Binding again gets slower with each failure, and stops with Close.
func TestBackoff(t *testing.T) {
	base, limit := time.Second, time.Minute
	for failures, want := range map[int]time.Duration{1: base, 2: 2 * base, 6: 32 * base, 7: limit, 8: limit, 1000: limit} {
		if got := backoff(base, limit, failures, 0); got != want {
			t.Errorf("after %d failures %s; want %s", failures, got, want)
		}
		if got := backoff(base, limit, failures, 0.9999999); got <= want/2-time.Millisecond || got > want/2+time.Millisecond {
			t.Errorf("after %d failures %s at most by chance; want half of %s", failures, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c, err := open(testConfig(nil), func(context.Context, egress.Endpoint) (net.Conn, error) {
			dials++
			return nil, &egress.Error{Kind: egress.Connect, Detail: "connect: refused"}
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if dials < 60 || dials > 130 {
			t.Errorf("%d attempts in an hour", dials)
		}
		m := message(t, c, false)
		wantResult(t, c.Send(t.Context(), m), channels.Result{Class: channels.Temporary, Detail: "connect: refused", NoConnection: true})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseUnbindsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []pdu.ID
		release := make(chan struct{})
		recording := make(chan struct{})
		c := piped(t, func(c *Config) {
			c.Receipt = func(context.Context, Receipt) error {
				close(recording)
				<-release
				return nil
			}
		}, func(_ int, c *centre) {
			c.accept()
			c.write(deliverSM(esmReceipt, "id:7 stat:DELIVRD", 9))
			for {
				f, ok := c.read()
				if !ok {
					return
				}
				order = append(order, f.id)
				if f.id == pdu.UnbindID {
					c.write(frame{pdu.UnbindRespID, 0, f.sequence, nil})
				}
			}
		})
		<-recording
		closed := make(chan struct{})
		go func() { defer close(closed); _ = c.Close() }()
		time.Sleep(time.Second) // in the bubble's time
		select {
		case <-closed:
			t.Error("closed while a receipt was being recorded")
		default:
		}
		close(release)
		<-closed
		synctest.Wait()
		if len(order) != 2 || order[0] != pdu.DeliverSMRespID || order[1] != pdu.UnbindID {
			t.Errorf("the centre got %v; want the answer to the receipt, then unbind", order)
		}
	})
}

// A centre that answers nothing, and a handler that only ends with its context,
// delay Close by CloseTimeout.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recording := make(chan struct{})
		c := piped(t, func(c *Config) {
			c.Receipt = func(ctx context.Context, _ Receipt) error {
				close(recording)
				<-ctx.Done()
				return ctx.Err()
			}
		}, func(_ int, c *centre) {
			c.accept()
			c.write(deliverSM(esmReceipt, "id:7 stat:DELIVRD", 9))
			for {
				if _, ok := c.read(); !ok {
					return
				}
			}
		})
		<-recording
		start := time.Now()
		_ = c.Close()
		if took := time.Since(start); took != Defaults().CloseTimeout {
			t.Errorf("close took %s", took)
		}
	})
}

func TestExclusiveAccountsBindOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		binds, unbinds := 0, 0
		count := func() (int, int) {
			mu.Lock()
			defer mu.Unlock()
			return binds, unbinds
		}
		c := piped(t, func(c *Config) { c.Accounts[0].Exclusive = true }, func(_ int, c *centre) {
			c.accept()
			mu.Lock()
			binds++
			mu.Unlock()
			c.takeAll()
			mu.Lock()
			unbinds++
			mu.Unlock()
		})
		time.Sleep(time.Hour)
		if b, _ := count(); b != 0 {
			t.Error("bound without a message")
		}
		for round := 1; round <= 2; round++ {
			for range 3 { // kept for the next ones
				if r := c.Send(t.Context(), message(t, c, false)); r.Class != channels.Delivered {
					t.Errorf("%+v", r)
				}
				time.Sleep(50 * time.Second)
			}
			time.Sleep(2 * Defaults().IdleTime)
			if b, u := count(); b != round || u != round {
				t.Errorf("round %d: %d binds, %d unbinds", round, b, u)
			}
		}
	})
}

func TestMoreBindsShareTheLoad(t *testing.T) {
	const binds = 3
	var reached sync.WaitGroup
	reached.Add(binds)
	c := piped(t, func(c *Config) { c.Accounts[0].Binds, c.Accounts[0].Window = binds, 1 }, func(_ int, c *centre) {
		c.accept()
		f, ok := c.next(pdu.SubmitSMID)
		reached.Done()
		reached.Wait() // none is answered before each bind has one
		if ok {
			c.write(taken(f, "m1"))
			c.takeAll()
		}
	})
	var all sync.WaitGroup
	for range binds {
		all.Go(func() {
			wantResult(t, c.Send(t.Context(), message(t, c, false)), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
		})
	}
	all.Wait()
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	address := serveOn(t, l, func(c *centre) { c.accept(); c.takeAll() })
	config := testConfig(func(c *Config) { c.Accounts[0].URL = "smpps://tocsin:" + testPassword + "@" + address })
	for want, roots := range map[channels.Result]*x509.CertPool{
		{Class: channels.Delivered, Detail: accepted, Handle: "m1"}:                                               web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		{Class: channels.Temporary, Detail: "tls_error: certificate of an unknown authority", NoConnection: true}: x509.NewCertPool(),
	} {
		c := listening(t, config, func(e *egress.Config) { e.Roots = roots })
		wantResult(t, c.Send(t.Context(), message(t, c, false)), want)
	}
}
