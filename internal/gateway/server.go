package gateway

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// MaxConnections bounds the connections of a listener, and so the memory that
// bodies can take.
const MaxConnections = 256

// NewServer returns a server with bounds on headers and idle connections. Bodies
// and answers are bounded by the handler of [New].
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Limit makes the listener accept no more than [MaxConnections] at once; others
// wait in the system's backlog.
func Limit(l net.Listener) net.Listener { return netutil.LimitListener(l, MaxConnections) }
