package floor

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tocsin/tocsin/internal/peer"
)

// farewell answers requests and says how the connection ended, and from where it came.
func farewell(t *testing.T) (port int, ended <-chan error, from <-chan string) {
	ends, addresses := make(chan error, 1), make(chan string, 1)
	port = serveTarget(t, func(c net.Conn) {
		addresses <- c.RemoteAddr().String()
		r := bufio.NewReader(c)
		for {
			q, err := http.ReadRequest(r)
			if err != nil {
				ends <- err
				return
			}
			_, _ = io.Copy(io.Discard, q.Body) // it fails when the next request is read
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	return port, ends, addresses
}

func TestHowConnectionsEnd(t *testing.T) {
	for end, want := range map[string]error{"kept": io.EOF, "order": io.EOF, "reset": syscall.ECONNRESET} {
		port, ended, _ := farewell(t)
		r, err := runFloor(t, "http", "--port", strconv.Itoa(port), "--targets", "1", "--updates", "2", "--end", end)
		if err != nil || r.Deliveries != 2 {
			t.Errorf("%s: %+v, %v", end, r, err)
		}
		if got := <-ended; !errors.Is(got, want) {
			t.Errorf("%s: the peer saw %v", end, got)
		}
	}
}

func TestConnectionsComeFromTheSource(t *testing.T) {
	for _, early := range [][]string{nil, {"--early"}} {
		port, _, from := farewell(t)
		if _, err := runFloor(t, append([]string{"http", "--port", strconv.Itoa(port), "--targets", "1", "--source", "127.255.0.9"}, early...)...); err != nil {
			t.Error(err)
		}
		if got := <-from; !strings.HasPrefix(got, "127.255.0.9:") {
			t.Errorf("%v: it came from %s", early, got)
		}
	}
}

func TestSocketsAreAsAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the options are Linux's")
	}
	const bindAddressNoPort = 24
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, test := range []struct {
		socket               Socket
		noDelay, bindsNoPort int
	}{
		{Socket{}, 1, 0},
		{Socket{Nagle: true}, 0, 0},
		{Socket{Source: "127.255.0.9"}, 1, 1},
		{Socket{Source: "127.255.0.9", Early: true}, 1, 0},
	} {
		c, err := test.socket.connect(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := option(t, c, syscall.IPPROTO_TCP, syscall.TCP_NODELAY); got != test.noDelay {
			t.Errorf("%+v: TCP_NODELAY is %d", test.socket, got)
		}
		if got := option(t, c, syscall.IPPROTO_IP, bindAddressNoPort); got != test.bindsNoPort {
			t.Errorf("%+v: IP_BIND_ADDRESS_NO_PORT is %d", test.socket, got)
		}
		c.Close()
	}
}

func option(t *testing.T, c *net.TCPConn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		failed := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// pieces keeps what is written, by write.
type pieces struct {
	net.Conn
	all []string
}

func (p *pieces) Write(b []byte) (int, error) {
	p.all = append(p.all, string(b))
	return len(b), nil
}

func TestTheBodyLeavesApart(t *testing.T) {
	for apart, want := range map[bool][]string{false: {"head\r\n\r\nbody"}, true: {"head\r\n\r\n", "body"}} {
		var p pieces
		if err := (&Socket{Apart: apart}).write(&p, []byte("head\r\n\r\nbody"), 4); err != nil || !slices.Equal(p.all, want) {
			t.Errorf("%q, %v", p.all, err)
		}
	}
	port, report := webhooks(t, peer.Mix{})
	if r, err := runFloor(t, "http", "--port", strconv.Itoa(port), "--targets", "5", "--updates", "2", "--apart", "--nagle"); err != nil || r.Deliveries != 10 {
		t.Errorf("%+v, %v", r, err)
	}
	sound(t, report(), 10)
}

func TestSourcesThatAreNone(t *testing.T) {
	for _, args := range [][]string{{"--source", "::1"}, {"--source", "here"}, {"--early"}} {
		if r, err := runFloor(t, append([]string{"http", "--port", "1"}, args...)...); err == nil || r != nil {
			t.Errorf("%v: %+v, %v", args, r, err)
		}
	}
}
