package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// answer is what the engine says on its control listener.
type answer struct {
	// parts is what /readyz has, nil if nothing that answers so is there.
	parts map[string]string
	// why says why there is no answer.
	why string
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// ask asks what listens on the control listener's address for its readiness.
func (x *examination) ask(ctx context.Context) answer {
	scheme := "http"
	if x.Config.TLS.On() {
		scheme = "https"
	}
	// Whoever holds the address of this machine is asked; nothing is told to it.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+reachable(x.Config.Listen)+"/readyz", nil)
	if err != nil {
		return answer{why: "its address can't be asked"}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{why: errors.Unwrap(err).Error()} // without the URL
	}
	defer response.Body.Close()
	var said struct {
		Ready *bool             `json:"ready"`
		Parts map[string]string `json:"parts"`
	}
	if json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&said) != nil || said.Ready == nil || said.Parts == nil {
		return answer{why: "what answers there is no Tocsin"}
	}
	return answer{parts: said.Parts}
}

// reachable is where a listener is reached from this machine.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch addr, err := netip.ParseAddr(host); {
	case host == "", err == nil && addr == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && addr == netip.IPv6Unspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

func (x *examination) listen(ctx context.Context) []Finding {
	control := tryListen(ctx, x.Config.Listen)
	var a answer
	if errors.Is(control, syscall.EADDRINUSE) {
		a = x.ask(ctx)
		if owner, err := x.owner(); a.parts != nil && err == nil && !owner.Held {
			a = answer{why: "a Tocsin with another data folder"}
		}
	}
	all := []Finding{judgeListener("listen", x.Config.Listen, control, a)}
	if x.Config.PublicListen != "" {
		// Strangers can ask this one nothing that tells what it is.
		all = append(all, judgeListener("public_listen", x.Config.PublicListen, tryListen(ctx, x.Config.PublicListen), a))
	}
	return all
}

// tryListen listens for a moment.
func tryListen(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

func judgeListener(key, address string, err error, a answer) Finding {
	f := Finding{
		Check: key + " " + address, Wanted: "free, or held by this engine",
		Effect: "the engine doesn't start",
	}
	switch {
	case err == nil:
		return f.ok("free")
	case errors.Is(err, syscall.EADDRINUSE) && a.parts != nil:
		return judgeParts(f, a.parts)
	case errors.Is(err, syscall.EADDRINUSE):
		f.Fix = "find who has it (ss -ltnp), or set " + key + " to another port"
		return f.fail("held by something else" + prefixed(": ", a.why))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Fix = "set " + key + " to an address of this machine (ip addr), or to 0.0.0.0"
		return f.fail("not an address of this machine")
	case errors.Is(err, syscall.EACCES):
		f.Fix = "use a port from 1024 on behind a proxy, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
		return f.fail("this user may not listen on that port")
	}
	f.Fix = "set " + key + " to an address and port that can be listened on"
	return f.fail(err.Error())
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// judgeParts reads the readiness of an engine that runs.
func judgeParts(f Finding, parts map[string]string) Finding {
	var missing []string
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if parts[part] != "ok" {
			missing = append(missing, part+": "+cmp.Or(parts[part], "unknown"))
		}
	}
	if len(missing) > 0 {
		f.Effect = "intake answers 503 until it is ready"
		f.Fix = "see the check of that part, and the engine's log"
		return f.fail(fmt.Sprintf("held by a running engine, which is not ready (%s)", strings.Join(missing, "; ")))
	}
	return f.ok("held by a running engine, which is ready")
}
