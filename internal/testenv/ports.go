package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// ports are those one broker listens on.
type ports struct{ amqp, dist, epmd int }

// Ports come from below the range the kernel takes for outgoing connections
// (32768 and up): a broker that is down for a restart must find its port free,
// and a client that dials the closed port must not get connected to itself.
const (
	firstPort = 20000
	lastPort  = 31999
)

// freePorts returns three different ports that nobody listened on a moment ago.
func freePorts() (ports, error) {
	var found []int
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // only at the end, so that no port is found twice
		if found = append(found, port); len(found) == 3 {
			return ports{amqp: found[0], dist: found[1], epmd: found[2]}, nil
		}
	}
	return ports{}, fmt.Errorf("found no three free ports on %s between %d and %d: stop what listens there", loopback, firstPort, lastPort)
}
