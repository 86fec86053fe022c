package floor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fleet is a set of lanes that send rounds of webhooks.
type fleet struct {
	lanes []lane
	// gate bounds the dials under way, window the lanes that wait for an answer over a
	// kept connection: after its dial, the first round knows no bound.
	gate, window int
	// rounds are sent one after the other, each once the one before it is answered
	// everywhere.
	rounds []*request
	// skip is how many of the rounds are not measured.
	skip int
	// hold is how long peers keep each request, at least.
	hold time.Duration
	// secure makes TLS connections, if it is not nil; resumed wants sessions that
	// continue earlier ones.
	secure  *tls.Config
	resumed bool
	// socket is how sockets are treated; without TLS all of it counts.
	socket Socket
}

// lane is one connection and the targets that are told over it, in each round.
type lane struct {
	to                 netip.AddrPort
	first, step, count int // targets
	slot               int // where the tally has the first of them, of the first measured round
}

// laneTo is the lane of a target alone.
func laneTo(target int, to netip.AddrPort) lane {
	return lane{to: to, first: target, count: 1, slot: target - 1}
}

// perRound is how many deliveries a round has.
func (f *fleet) perRound() int {
	n := 0
	for i := range f.lanes {
		n += f.lanes[i].count
	}
	return n
}

// voyage is a fleet on its way.
type voyage struct {
	*fleet
	tally *tally
	round int // deliveries of one
	// wires are the connections by lane, so that the end of the context can close
	// them. A context for each dial would cost a goroutine each.
	wires  []atomic.Pointer[net.TCPConn]
	next   []chan struct{} // by lane: the next round, or that there is none
	ended  sync.WaitGroup  // of the lanes that are in a round
	gate   chan struct{}
	window chan struct{}
	// buffers are for requests: only one that is being written needs one.
	buffers sync.Pool // of *[]byte
}

// run sends all rounds and returns what became of the measured ones. Connections are
// kept until the last answer.
func (f *fleet) run(ctx context.Context) (*tally, error) {
	if err := checkFiles(len(f.lanes)); err != nil {
		return nil, err
	}
	round := f.perRound()
	v := &voyage{
		fleet: f, round: round, tally: newTally(round * (len(f.rounds) - f.skip)), wires: make([]atomic.Pointer[net.TCPConn], len(f.lanes)),
		next: make([]chan struct{}, len(f.lanes)), gate: make(chan struct{}, f.gate), window: make(chan struct{}, max(f.window, 1)),
	}
	v.buffers.New = func() any { return new([]byte) }
	for i := range v.next {
		v.next[i] = make(chan struct{}, 1)
	}
	stop := context.AfterFunc(ctx, v.cut)
	defer stop()
	var lanes sync.WaitGroup
	for k := range f.rounds {
		if k == f.skip {
			v.tally.watch.start()
		}
		v.ended.Add(len(f.lanes))
		for i := range f.lanes {
			if k == 0 {
				v.gate <- struct{}{}
				lanes.Go(func() { v.sail(ctx, i) })
				continue
			}
			v.window <- struct{}{}
			v.next[i] <- struct{}{}
		}
		v.ended.Wait()
	}
	v.tally.watch.stop()
	for _, next := range v.next {
		close(next)
	}
	lanes.Wait()
	return v.tally, nil
}

// measure runs and ends the tally.
func (f *fleet) measure(ctx context.Context) (Result, error) {
	t, err := f.run(ctx)
	if err != nil {
		return Result{}, err
	}
	return t.end(ctx)
}

// cut ends every connection there is.
func (v *voyage) cut() {
	for i := range v.wires {
		if wire := v.wires[i].Load(); wire != nil {
			_ = wire.Close() // the lane says what it meant
		}
	}
}

// sail is the life of lane i. It has a place in the gate, and in each later round one
// in the window, and gives them back.
func (v *voyage) sail(ctx context.Context, i int) {
	began := time.Now()
	conn, err := v.dial(ctx, i)
	<-v.gate
	var answer [answerSize]byte
	for k, round := range v.rounds {
		if k > 0 {
			<-v.next[i]
			began = time.Now()
		}
		if err == nil {
			err = v.tell(conn, &v.lanes[i], k, round, began, &answer)
		}
		if err == nil && k == len(v.rounds)-1 {
			err = v.socket.end(v.wires[i].Load())
		}
		if err != nil {
			v.tally.fail(err)
		}
		if k > 0 {
			<-v.window
		}
		v.ended.Done()
	}
	<-v.next[i]
	if conn != nil {
		_ = conn.Close() // all that was to come has come; it may be closed already
	}
}

// tell sends one round of a lane; the first delivery began at a time.
func (v *voyage) tell(conn net.Conn, l *lane, k int, round *request, began time.Time, answer *[answerSize]byte) error {
	slot := (k-v.skip)*v.round + l.slot
	for n := range l.count {
		if n > 0 {
			began = time.Now()
		}
		if err := v.send(conn, round, l.to, l.first+n*l.step, answer); err != nil {
			return err
		}
		if v.hold > 0 && time.Since(began) < v.hold {
			return fmt.Errorf("an answer came before the peer's %v were over: start it with --hold", v.hold)
		}
		if k >= v.skip {
			v.tally.done(slot+n, began)
		}
	}
	return nil
}

// send sends one request in one write and reads its answer.
func (v *voyage) send(conn net.Conn, round *request, to netip.AddrPort, target int, answer *[answerSize]byte) error {
	buffer := v.buffers.Get().(*[]byte)
	*buffer = round.append((*buffer)[:0], to, target)
	err := v.socket.write(conn, *buffer, round.body)
	v.buffers.Put(buffer)
	if err != nil {
		return err
	}
	status, err := readAnswer(conn, answer)
	if err == nil && (status < 200 || status > 299) {
		err = fmt.Errorf("a peer answered %d", status)
	}
	return err
}

// checkFiles refuses what would run out of file descriptors half way.
func checkFiles(connections int) error {
	const others = 32 // the runtime's and the standard ones
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if need := uint64(connections + others); need > limit.Cur {
		return fmt.Errorf("%d connections at once need %d open files, and the limit is %d: ask for fewer or raise it with ulimit -n", connections, need, limit.Cur)
	}
	return nil
}

// dial opens the connection of lane i, TLS included.
func (v *voyage) dial(ctx context.Context, i int) (net.Conn, error) {
	wire, err := v.socket.connect(v.lanes[i].to.String())
	if err != nil {
		return nil, err
	}
	v.wires[i].Store(wire)
	if ctx.Err() != nil { // cut may have been here before
		_ = wire.Close()
		return nil, context.Cause(ctx)
	}
	if v.secure == nil {
		return wire, nil
	}
	config := v.secure.Clone()
	config.ServerName = v.lanes[i].to.Addr().String()
	conn := tls.Client(wire, config)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		_ = wire.Close()
		return nil, fmt.Errorf("TLS handshake with a peer: %w", err)
	}
	if v.resumed && !conn.ConnectionState().DidResume {
		_ = wire.Close()
		return nil, errors.New("a peer did not resume the TLS session: does it give tickets?")
	}
	return conn, nil
}
