package smpp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tocsin/tocsin/internal/egress"
)

// Account is an account at an SMS centre: one provider.
type Account struct {
	// Name is what Message.Provider says.
	Name string
	// URL is smpp://system_id:password@host:port, or smpps:// for TLS. The port is
	// 2775 or, with TLS, 3550 if it is left out.
	URL string
	// Source is the sender: up to 11 letters, digits and spaces with at least one
	// letter, or a number of up to 20 digits, in E.164 form with a +. Its type of
	// number follows from its form: see newSource.
	Source string
	// Window is how many submits of each bind wait for their response, 1 to 1,000.
	Window int
	// Binds is how many transceiver sessions are kept, 1 to 100.
	Binds int
	// Exclusive says that the centre allows one bind in the whole fleet: then there
	// is one, made when there is something to send, and ended after
	// Config.IdleTime without.
	Exclusive bool
	// MessagePayload sends a long message whole in the message_payload parameter
	// (section 5.3.2.32) and leaves the cutting to the centre.
	MessagePayload bool
	// Country is the calling code, up to 3 digits, that completes the number of a
	// STOP where the centre gives it in national form; "" completes none.
	Country string
}

// account is an Account at work. Its keepers each hold one bind; senders pick the
// one with the most room.
type account struct {
	config    *Config
	connect   dial
	name      string
	endpoint  egress.Endpoint
	systemID  string
	password  string
	source    source
	window    int
	binds     int
	exclusive bool
	payload   bool // long messages go as message_payload
	country   string

	// nationals is for saying once that a STOP can't be completed.
	nationals sync.Once

	receipts, optOuts, inbound, strays atomic.Uint64
	orphans                            orphans

	// wanted wakes the keeper of an exclusive account. It has room for one.
	wanted chan struct{}

	mu    sync.Mutex
	bound []*session
	// coming counts keepers that are about to have a bind: it pays to wait for
	// them. The others have failed and pause.
	coming int
	// failure is why the last bind could not be made or was lost, in fixed words.
	failure string
	// changed is closed, and replaced, when any of these changes.
	changed chan struct{}
}

// source is a sender with its type of number and numbering plan (sections 5.2.5
// and 5.2.6).
type source struct {
	ton, npi uint8
	addr     string
}

// The types of number and numbering plans in use here.
const (
	tonUnknown         = 0
	tonInternational   = 1
	tonNational        = 2
	tonNetworkSpecific = 3
	tonAlphanumeric    = 5
	npiUnknown         = 0
	npiISDN            = 1 // E.163/E.164
)

const (
	maxSystemID = 15 // sections 5.2.1 and 5.2.2, without the final zero byte
	// maxPassword is more than the 8 of the specification: many centres take more.
	maxPassword = 64
	maxWindow   = 1000
	maxBinds    = 100
	// maxShortCode is the longest number that is taken for a short code.
	maxShortCode = 8
)

var (
	alphanumeric = regexp.MustCompile(`^[A-Za-z0-9 ]{1,11}$`)
	digits       = regexp.MustCompile(`^[0-9]{1,20}$`)
	callingCode  = regexp.MustCompile(`^[1-9][0-9]{0,2}$`)
)

// newSource derives the type: letters are alphanumeric; a + or more than 8 digits
// is international; what is left is a short code, which only the centre knows.
func newSource(text string) (source, error) {
	number, plus := strings.CutPrefix(text, "+")
	switch {
	case digits.MatchString(number) && (plus || len(number) > maxShortCode):
		return source{tonInternational, npiISDN, number}, nil
	case digits.MatchString(text):
		return source{tonNetworkSpecific, npiUnknown, text}, nil
	case alphanumeric.MatchString(text) && strings.TrimSpace(text) == text && text != "":
		return source{tonAlphanumeric, npiUnknown, text}, nil
	}
	return source{}, errors.New("source: must be up to 11 letters and digits, or a number of up to 20 digits")
}

func newAccount(config *Config, from Account, connect dial) (*account, error) {
	a := &account{
		config: config, connect: connect, name: from.Name,
		window: from.Window, binds: from.Binds, exclusive: from.Exclusive, payload: from.MessagePayload, country: from.Country,
		wanted: make(chan struct{}, 1), changed: make(chan struct{}), coming: from.Binds,
	}
	switch {
	case a.name == "":
		return nil, errors.New("name: must be set")
	case a.window < 1 || a.window > maxWindow:
		return nil, errors.New("window: must be from 1 to 1000")
	case a.binds < 1 || a.binds > maxBinds:
		return nil, errors.New("binds: must be from 1 to 100")
	case a.exclusive && a.binds != 1:
		return nil, errors.New("binds: must be 1 for an exclusive account")
	case a.country != "" && !callingCode.MatchString(a.country):
		return nil, errors.New("country: must be a calling code of up to 3 digits, such as 49")
	}
	if err := a.parseURL(from.URL); err != nil {
		return nil, err
	}
	var err error
	a.source, err = newSource(from.Source)
	return a, err
}

// Check says what is wrong with an account before anything is opened for it; nil if
// nothing is. The error never has the password.
func (a Account) Check() error {
	if _, err := newAccount(&Config{}, a, nil); err != nil {
		return fmt.Errorf("smpp account %q: %w", a.Name, err)
	}
	return nil
}

// parseURL reads where to connect and who we are. The error of url.Parse repeats
// the URL, password and all, so it stays here.
func (a *account) parseURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "smpp" && u.Scheme != "smpps" || u.Hostname() == "" || u.User == nil {
		return errors.New("url: must be like smpp://system_id:password@smsc.example.com:2775, with special characters in %-form")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("url: must end after the host and port")
	}
	a.endpoint = egress.Endpoint{Host: strings.ToLower(u.Hostname()), Port: 2775, TLS: u.Scheme == "smpps"}
	if a.endpoint.TLS {
		a.endpoint.Port = 3550
	}
	if text := u.Port(); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return errors.New("url: must have a port from 1 to 65535")
		}
		a.endpoint.Port = uint16(port)
	}
	a.systemID = u.User.Username()
	a.password, _ = u.User.Password()
	if len(a.systemID) == 0 || len(a.systemID) > maxSystemID || strings.ContainsRune(a.systemID, 0) {
		return errors.New("url: must have a system_id of 1 to 15 characters")
	}
	if len(a.password) > maxPassword || strings.ContainsRune(a.password, 0) {
		return errors.New("url: must have a password of at most 64 characters")
	}
	return nil
}

// choice is what pick found: a bind, or why there is none.
type choice struct {
	session *session
	// held says that a slot of its window was taken; none was free otherwise.
	held bool
	why  string
	// changed is closed when another choice may be better.
	changed <-chan struct{}
}

// pick returns the bind with the most room, waiting for one that is about to come.
// It returns the error of ctx if that ends first. Slots are taken with the lock
// held, so that of many senders none waits at one bind while there is room at
// another.
func (a *account) pick(ctx context.Context) (choice, error) {
	for {
		a.mu.Lock()
		c := choice{session: a.roomiest(), why: a.failure, changed: a.changed}
		hopeless := a.coming == 0
		if c.session != nil {
			select {
			case c.session.slots <- struct{}{}:
				c.held = true
			default:
			}
		}
		a.mu.Unlock()
		if c.session != nil || hopeless {
			return c, nil
		}
		if a.exclusive {
			select {
			case a.wanted <- struct{}{}:
			default:
			}
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return choice{}, ctx.Err()
		}
	}
}

// roomiest is called with the lock held.
func (a *account) roomiest() *session {
	var best *session
	for _, s := range a.bound {
		if best == nil || len(s.slots) < len(best.slots) {
			best = s
		}
	}
	return best
}

// change runs f with the lock held and wakes everyone who waits in pick.
func (a *account) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// leave makes s take no more submits; its keeper is about to bind again. It may be
// called more than once.
func (a *account) leave(s *session, why error) {
	a.change(func() {
		if i := slices.Index(a.bound, s); i >= 0 {
			a.bound = slices.Delete(a.bound, i, i+1)
			a.failure = reason(why)
			a.coming++
		}
	})
}

func (a *account) state() AccountState {
	a.mu.Lock()
	defer a.mu.Unlock()
	state := AccountState{Name: a.name, Binds: a.binds, Bound: len(a.bound), Failure: a.failure,
		Receipts: a.receipts.Load(), OptOuts: a.optOuts.Load(), Inbound: a.inbound.Load(), Strays: a.strays.Load()}
	for _, s := range a.bound {
		state.InFlight += len(s.slots)
	}
	return state
}
