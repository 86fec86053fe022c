package crash

import (
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// receivers are those who are told: the peers of one channel, in this process.
type receivers struct {
	station
	channel string
	address func(n int) string
	number  func(address string) int
	report  func() *peer.Report
}

// station is what peers of every channel have.
type station interface {
	Receipts() []peer.Receipt
	Connections() int
	Port() int
	Close() error
}

func webhooks(o peer.Options) (*receivers, error) {
	w, err := peer.StartWebhook(o)
	if err != nil {
		return nil, err
	}
	return &receivers{w, incident.ChannelWebhook, w.URL, peer.TargetNumber, w.Report}, nil
}
