// Package floor holds the fastest senders that can be written with reason: they do
// the same work as the engine with raw sockets, so that the bench can say how close
// the engine comes to what this machine allows at all.
//
// Promise: a floor sends what the engine would send, to as many targets, in as many
// bytes and in the same order, and counts a delivery only once its answer has been
// read and says yes. It keeps nothing, retries nothing and signs nothing: that is
// what the engine is measured against, not a fault.
//
// Words: a floor is one such sender, a subcommand of the bench; a lane is one
// connection with the goroutine that serves it; a round is what every lane sends
// before any goes on, one update usually; a gate bounds the dials and handshakes
// under way; a [Story] is the incident whose updates are sent.
//
// Every floor talks with who started it in the same way, see [Result].
package floor

// Commands are the floors, for kong. Each Run takes the context, which ends it, its
// standard input and its standard output.
type Commands struct {
	HTTP       HTTPCommand       `cmd:"" name:"http" help:"Webhooks, a raw socket and a goroutine for each connection."`
	HTTPS      HTTPSCommand      `cmd:"" name:"https" help:"The same over TLS 1.3."`
	FastHTTP   FastHTTPCommand   `cmd:"" name:"fasthttp" help:"Webhooks with a bare fasthttp client."`
	SMTP       SMTPCommand       `cmd:"" name:"smtp" help:"Mails, raw, with PIPELINING or without."`
	SMTPSource SMTPSourceCommand `cmd:"" name:"smtp-source" help:"Mails, with Postfix's smtp-source."`
	SMPP       SMPPCommand       `cmd:"" name:"smpp" help:"SMS over one bind, one write for each PDU."`
	Feeds      FeedsCommand      `cmd:"" name:"feeds" help:"GETs of a feed, with wrk."`
}
