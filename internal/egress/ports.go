package egress

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrNoPort is returned by [Dialer.Dial] when this machine has no local port left for
// the destination, from any of Source. It says nothing about the peer: wait, for a
// connection to it that is free again or for a port, and count nothing against it.
var ErrNoPort = errors.New("connect: no free local port")

// ports counts the dials that found no port, and tells of them.
type ports struct {
	shortages atomic.Int64
	toldAt    atomic.Int64 // Unix time in ns
}

// tellPortsEvery is how often an operator is told, while it lasts.
const tellPortsEvery = time.Minute

func (p *ports) short(log *slog.Logger) {
	p.shortages.Add(1)
	now, told := time.Now().UnixNano(), p.toldAt.Load()
	if now-told < int64(tellPortsEvery) || !p.toldAt.CompareAndSwap(told, now) {
		return
	}
	log.Warn("no local port is left for a destination, what is for it waits: widen net.ipv4.ip_local_port_range, or name more addresses of this machine under egress.source")
}

// PortShortages counts the connects that found no free local port.
func (d *Dialer) PortShortages() int64 { return d.ports.shortages.Load() }

// noPort reports whether a connect failed for want of a local port. Linux says the
// same where it has no address of the peer's family to connect from, as without
// IPv6: then a datagram socket, which has ports of its own, can't be connected
// either. Nothing is sent.
func noPort(err error, to netip.AddrPort) bool {
	call, ok := errors.AsType[*os.SyscallError](err)
	if !ok {
		return false
	}
	switch {
	case call.Syscall == "bind" && errors.Is(err, syscall.EADDRINUSE):
		return true
	case call.Syscall != "connect" || !errors.Is(err, syscall.EADDRNOTAVAIL):
		return false
	}
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return false
	}
	_ = probe.Close() // it was only to be had
	return true
}
