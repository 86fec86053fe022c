package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// NewServer returns a server with bounds on headers and idle connections, for a
// listener that is a [Crowd], with or without TLS on it. Bodies and answers are bounded
// by the handler of [New].
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           attended(h),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, seatKey{}, seatOf(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if s := seatOf(c); s != nil && state == http.StateIdle {
				s.rest()
			}
		},
	}
}

// seatKey is the context's key of the connection's seat.
type seatKey struct{}

// seatOf returns the seat of a connection, nil if it is none of a crowd.
func seatOf(c net.Conn) *seat {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	s, _ := c.(*seat)
	return s
}

// attended notes whether a request's client waits for us or we for it.
func attended(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := r.Context().Value(seatKey{}).(*seat)
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		s.work()
		// What comes after the handler is up to the client: to take the answer, and to
		// ask again.
		defer func() { s.wait(s.of.now()) }()
		if r.ContentLength != 0 {
			r = withBody(r, &awaitedBody{ReadCloser: r.Body, seat: s})
		}
		if s.of.pressed.Load() {
			w.Header().Set("Connection", "close") // the place is needed, and so nobody is cut
		}
		next.ServeHTTP(w, r)
	})
}

// awaitedBody takes the time that the client keeps us waiting for each part of a body:
// one that drips has been waited for since the part began.
type awaitedBody struct {
	io.ReadCloser
	seat   *seat
	waited time.Duration // for this part
	left   int           // bytes of it
}

// Read implements io.Reader.
func (b *awaitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.waited, b.left = 0, pace
	}
	begun := b.seat.of.now()
	b.seat.wait(max(1, begun-b.waited))
	n, err := b.ReadCloser.Read(p)
	b.seat.work()
	b.waited += b.seat.of.now() - begun
	b.left -= n
	return n, err
}
