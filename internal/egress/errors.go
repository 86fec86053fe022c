package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Kind says which step of a dial failed.
type Kind uint8

// The kinds of a failed dial.
const (
	// DNS: the name did not resolve.
	DNS Kind = iota + 1
	// Connect: the connection was refused, reset or found no way.
	Connect
	// Timeout: the time to connect was over before the peer answered.
	Timeout
	// TLS: the handshake failed or took too long.
	TLS
)

// Error is a dial that failed for a reason of the far side or of the way there. A
// refused address is [ErrBlocked] instead, and a context that ended is its error.
type Error struct {
	Kind Kind
	// Detail is the cause in a few fixed words, such as "connect: refused" or
	// "tls_error: certificate expired". It never has an address or text of the peer.
	Detail string
}

// Error returns Detail.
func (e *Error) Error() string { return e.Detail }

var (
	errTimeout      = &Error{Timeout, "connect: timeout"}
	errDNSTimeout   = &Error{DNS, "dns: timeout"}
	errNoSuchHost   = &Error{DNS, "dns: no such host"}
	errDNSFailed    = &Error{DNS, "dns: server failure"}
	errTLSTimeout   = &Error{TLS, "tls_error: timeout"}
	connectFailures = []struct {
		errno  syscall.Errno
		detail string
	}{
		{syscall.ECONNREFUSED, "connect: refused"},
		{syscall.ECONNRESET, "connect: reset"},
		{syscall.ENETUNREACH, "connect: unreachable"},
		{syscall.EHOSTUNREACH, "connect: unreachable"},
		{syscall.EADDRNOTAVAIL, "connect: no local address to connect from"},
	}
)

func lookupError(err error) *Error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return errNoSuchHost
		case dns.IsTimeout:
			return errDNSTimeout
		}
	}
	return errDNSFailed
}

func connectError(err error) error {
	if errors.Is(err, ErrBlocked) {
		return ErrBlocked
	}
	if isTimeout(err) {
		return errTimeout
	}
	for _, f := range connectFailures {
		if errors.Is(err, f.errno) {
			return &Error{Connect, f.detail}
		}
	}
	return &Error{Connect, "connect: failed"}
}

func handshakeError(err error) *Error {
	if isTimeout(err) {
		return errTLSTimeout
	}
	return &Error{TLS, "tls_error: " + handshakeCause(err)}
}

func handshakeCause(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "certificate expired or not yet valid"
		}
		return "certificate not valid"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "certificate of an unknown authority"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "certificate for another name"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the peer does not speak TLS"
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return strings.TrimPrefix(alert.Error(), "tls: ")
	}
	switch {
	case ClosedByPeer(err):
		return "closed by the peer"
	case strings.Contains(err.Error(), "protocol version"):
		// crypto/tls has no type for a server that chose a version we don't take.
		return "protocol version not supported"
	}
	return "handshake failed"
}

// ClosedByPeer reports whether a read or write failed because the peer had closed or
// reset the connection.
func ClosedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// outOfFiles reports whether the process or the machine has no descriptor left.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
