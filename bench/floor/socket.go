package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Socket are the flags by which a floor treats its sockets otherwise than the engine
// does, so that what the engine does can be measured against it.
type Socket struct {
	Apart  bool   `help:"Write the head of each request, then its body; without it both leave in one write."`
	Nagle  bool   `help:"Switch TCP_NODELAY off: what is small waits until what was sent before is acknowledged."`
	End    string `enum:"kept,order,reset" default:"kept" help:"End each connection after its last answer, in order or by a reset (SO_LINGER 0); kept are all until nothing more is measured."`
	Source string `placeholder:"ADDRESS" help:"Connect from this IPv4 address."`
	Early  bool   `help:"With --source: choose the local port when binding to it, without IP_BIND_ADDRESS_NO_PORT."`
}

// Values of Socket.End.
const (
	inOrder = "order"
	byReset = "reset"
)

func (s *Socket) check() error {
	if s.Source == "" {
		if s.Early {
			return errors.New("--early needs a --source to bind to")
		}
		return nil
	}
	if ip := net.ParseIP(s.Source); ip == nil || ip.To4() == nil {
		return fmt.Errorf("--source %q is not an IPv4 address", s.Source)
	}
	return nil
}

// connect dials without the keep-alive probes that Go sets up by default: they would
// cost system calls, and the engine has none either. TCP_NODELAY is Go's default. Not
// Dialer.DialTCP: that binds a port first, and 28,000 of them are soon used up.
func (s *Socket) connect(to string) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	if s.Source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.Source)}
		if !s.Early {
			dialer.Control = bindWithoutPort
		}
	}
	conn, err := dialer.DialContext(context.Background(), "tcp4", to)
	if err != nil {
		return nil, fmt.Errorf("connect to a peer: %w", err)
	}
	tcp := conn.(*net.TCPConn)
	if s.Nagle {
		if err := tcp.SetNoDelay(false); err != nil {
			_ = tcp.Close()
			return nil, fmt.Errorf("switch TCP_NODELAY off: %w", err)
		}
	}
	return tcp, nil
}

func bindWithoutPort(_, _ string, socket syscall.RawConn) error {
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT of Linux
	var failed error
	err := socket.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1)
	})
	return errors.Join(err, failed)
}

// write writes a request whose body has so many bytes.
func (s *Socket) write(conn net.Conn, wire []byte, body int) error {
	if s.Apart {
		head := len(wire) - body
		if _, err := conn.Write(wire[:head]); err != nil {
			return fmt.Errorf("write the head of a request: %w", err)
		}
		wire = wire[head:]
	}
	if _, err := conn.Write(wire); err != nil {
		return fmt.Errorf("write a request: %w", err)
	}
	return nil
}

// end ends a connection that nothing more is sent over, if it is not kept.
func (s *Socket) end(wire *net.TCPConn) error {
	switch s.End {
	case byReset:
		if err := wire.SetLinger(0); err != nil {
			return fmt.Errorf("SO_LINGER 0: %w", err)
		}
	case inOrder:
	default:
		return nil
	}
	if err := wire.Close(); err != nil {
		return fmt.Errorf("close a connection: %w", err)
	}
	return nil
}
