package rabbitmq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
	"github.com/tocsin/tocsin/queue/queuetest"
)

// A broker that has just booted answers consumers with 541 for a while, and closes
// the connection. That passes: connect again, more and more slowly, and say so.
func TestFault_03_ConsumeRightAfterBoot(t *testing.T) {
	const refusals = 3
	var said bytes.Buffer
	o := testOptions(t, booting(t, testenv.Vhost(t), refusals))
	o.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var mu sync.Mutex
	var waits []int
	o.Backoff = func(failures int) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, failures)
		return 20 * time.Millisecond
	}
	b := open(t, o)
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 1))
	ctx, refused := patience(t), 0
	var leases []*queue.Lease
	for err := error(nil); leases == nil; {
		leases, err = b.Receive(ctx, queuetest.GroupA, 1)
		switch {
		case err != nil && !errors.Is(err, queue.ErrUnavailable):
			t.Fatal(err)
		case err != nil:
			refused++
		}
	}
	if refused != refusals {
		t.Errorf("%d refusals were unavailability, want %d", refused, refusals)
	}
	b.Ack(leases)
	if err := b.Close(); err != nil { // so that the log is nobody else's
		t.Fatal(err)
	}
	if text := said.String(); !strings.Contains(text, "INTERNAL_ERROR") {
		t.Errorf("nothing tells the operator:\n%s", text)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range refusals {
		if len(waits) <= i || waits[i] != i {
			t.Fatalf("waited as after %v failures: they have to count up", waits)
		}
	}
}

// booting stands between us and a broker and answers the first basic.consume of
// so many connections as a booting broker does: connection.close with 541.
func booting(t *testing.T, amqpURL string, refusals int32) string {
	t.Helper()
	u, err := url.Parse(amqpURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	u.Host = l.Addr().String()
	var left atomic.Int32
	left.Store(refusals)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			work.Go(func() { defer in.Close(); _, _ = io.Copy(in, out) })
			work.Go(func() { defer out.Close(); refuseConsumers(in, out, &left) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	return u.String()
}

// refuseConsumers passes a client's frames on, but for the consumers it refuses.
func refuseConsumers(client net.Conn, broker io.Writer, left *atomic.Int32) {
	hello := make([]byte, 8) // the protocol header is no frame
	if _, err := io.ReadFull(client, hello); err != nil {
		return
	}
	if _, err := broker.Write(hello); err != nil {
		return
	}
	for {
		head := make([]byte, 7) // type, channel, size
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(client, rest); err != nil {
			return
		}
		consume := head[0] == 1 && len(rest) > 4 && bytes.Equal(rest[:4], []byte{0, 60, 0, 20})
		if consume && left.Add(-1) >= 0 {
			const why = "INTERNAL_ERROR"
			method := []byte{0, 10, 0, 50, 541 >> 8, 541 & 0xff, byte(len(why))}
			method = append(append(method, why...), 0, 60, 0, 20)
			frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0}, uint32(len(method)))
			if _, err := client.Write(append(append(frame, method...), 0xce)); err != nil {
				return
			}
			continue
		}
		if _, err := broker.Write(append(head, rest...)); err != nil {
			return
		}
	}
}

// What was confirmed by a queue less than a second old can be gone after a crash of
// the broker. So nothing is confirmed to anybody before the queues are older: a kill
// right after the first confirm finds it in a ripe queue.
func TestFault_08_NewbornQueueAndBrokerKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a broker of its own")
	}
	t.Parallel()
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	o := testOptions(t, broker.URL())
	o.newborn = 0 // the standard
	b := open(t, o)
	publish(t, b, queuetest.Batch(1, queuetest.GroupA, true, 5), queuetest.Batch(2, queuetest.GroupB, false, 5)) // B's are declared last
	if err := b.Offer(patience(t), &queue.Event{Body: []byte("{}"), UpdateID: "first", Source: "http"}); err != nil {
		t.Fatal(err)
	}
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connections are gone", func() bool { return !b.Connected() })
	if err := broker.Start(patience(t)); err != nil {
		t.Fatal(err)
	}
	if l := receive(t, b); l.ID != 1 {
		t.Errorf("received batch %d", l.ID)
	}
	for ctx := patience(t); ; {
		leases, err := b.Receive(ctx, queuetest.GroupB, 1)
		if err == nil && leases[0].ID == 2 {
			break
		}
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Fatalf("received %v, %v, want batch 2", leases, err)
		}
	}
	if e := takeAll(t, b, 1); e[0].UpdateID != "first" {
		t.Errorf("took event %q", e[0].UpdateID)
	}
}
