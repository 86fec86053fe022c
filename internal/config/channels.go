package config

import "time"

// Mail is what all mail relays have in common.
type Mail struct {
	// Templates is a folder of templates that replace the built-in ones or add
	// formats; "" leaves it at those.
	Templates string `yaml:"templates"`
	// Domain is what Message-IDs end in; "" is the domain of the first relay's
	// From. Threads break when it changes.
	Domain string `yaml:"domain"`
	// Hello is the name in EHLO; "" is the machine's.
	Hello string `yaml:"hello"`
	// ConnectTimeout bounds dialling, and the handshake of implicit TLS; Timeout
	// bounds what comes before a message: opening a session, and the envelope,
	// each by itself. FinalTimeout bounds a message and the relay's answer to it.
	ConnectTimeout time.Duration `yaml:"connect_timeout" min:"1ms" max:"15s"`
	Timeout        time.Duration `yaml:"timeout" min:"1ms" max:"20s"`
	FinalTimeout   time.Duration `yaml:"final_timeout" min:"1ms" max:"90s"`
}

// SMTP is one mail relay.
type SMTP struct {
	// Name is 1 to 32 of a-z 0-9 _ -.
	Name string `yaml:"name"`
	// URL is smtp://user:password@host:port, where STARTTLS is required, or
	// smtps://, TLS from the start; ?tls=starttls|implicit|none says it in so many
	// words.
	URL string `yaml:"url"`
	// From is the sender, as in "Status <status@example.com>".
	From        string `yaml:"from"`
	Rate        Rate   `yaml:"rate"`
	Burst       int    `yaml:"burst" min:"1" max:"1000000"`
	Connections int    `yaml:"connections" min:"1" max:"1000"`
	DKIM        DKIM   `yaml:"dkim"`
	// Budget bounds its mails, besides that of the channel.
	Budget Bound `yaml:"budget"`
}

// DKIM signs the mails of a relay (RFC 6376), if KeyFile and Selector are set.
type DKIM struct {
	// Domain signs; "" is the domain of From.
	Domain string `yaml:"domain"`
	// Selector names the key: its public half is at Selector._domainkey.Domain.
	Selector string `yaml:"selector"`
	// KeyFile has the private key in PEM, RSA or Ed25519, without a passphrase.
	// Others than its owner and group must not have any access to it.
	KeyFile string `yaml:"key_file"`
}

// Signs says whether there is anything to sign with.
func (d DKIM) Signs() bool { return d.KeyFile != "" }

// SMS is what all accounts at SMS centres have in common.
type SMS struct {
	// ConnectTimeout bounds dialling and the TLS handshake together.
	ConnectTimeout time.Duration `yaml:"connect_timeout" min:"1ms" max:"15s"`
	// ResponseTimeout bounds the wait for any response of a centre: to a bind, a
	// message, a link check.
	ResponseTimeout time.Duration `yaml:"response_timeout" min:"1ms" max:"30s"`
	// EnquireLink is the silence after which a bind is checked.
	EnquireLink time.Duration `yaml:"enquire_link" min:"1s" max:"10m"`
	// IdleTime is how long an exclusive account stays bound without a message.
	IdleTime time.Duration `yaml:"idle_time" min:"1s" max:"1h"`
}

// SMPP is one account at an SMS centre.
type SMPP struct {
	// Name is 1 to 32 of a-z 0-9 _ -.
	Name string `yaml:"name"`
	// URL is smpp://system_id:password@host:port or smpps://.
	URL string `yaml:"url"`
	// Source is the sender: up to 11 letters and digits, or a number.
	Source string `yaml:"source"`
	Rate   Rate   `yaml:"rate"`
	Burst  int    `yaml:"burst" min:"1" max:"1000000"`
	// Window is how many submits wait for their answer at once, per bind.
	Window int `yaml:"window" min:"1" max:"1000"`
	Binds  int `yaml:"binds" min:"1" max:"100"`
	// Exclusive says that the centre allows one bind in the whole fleet.
	Exclusive bool `yaml:"exclusive"`
	// MessagePayload sends long messages whole, in the parameter of that name, and
	// leaves the cutting to the centre.
	MessagePayload bool `yaml:"message_payload"`
	// Country is the calling code that completes the numbers of STOPs which come
	// in national form; "" completes none.
	Country string `yaml:"country"`
	// Budget bounds its messages, besides that of the channel.
	Budget Bound `yaml:"budget"`
}

// RSS describes the feeds.
type RSS struct {
	Title string `yaml:"title"`
	// Link is the page that readers of a feed come from.
	Link string `yaml:"link"`
	// Authority is the host name that entry ids are made of (RFC 4151); "" is the
	// host of Link, or else of the public URL. Readers see every entry as new when
	// it changes.
	Authority string `yaml:"authority"`
	// Entries is how many updates a feed shows at most.
	Entries int `yaml:"entries" min:"1" max:"1000"`
	// Directory has the feeds written as files for another web server; ""
	// does not.
	Directory string `yaml:"directory"`
}
