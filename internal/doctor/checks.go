package doctor

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// Options are what the checks are about.
type Options struct {
	Config *config.Config
	System System
	// Built is when this program was built; zero if that is not known.
	Built time.Time
	// Policy is what may be dialled, Lookup how names are resolved.
	Policy *egress.Policy
	Lookup egress.Lookup
	// PublicURL is where the public is told to go.
	PublicURL string
	// Broker looks at the broker, Relay and Centre at the ones so named. They are
	// called at most once, with a context that ends.
	Broker func(ctx context.Context) Broker
	Relay  func(ctx context.Context, name string) Relay
	Centre func(ctx context.Context, name string) Centre
}

// Examine makes all checks and returns their findings, always in the same order.
func Examine(ctx context.Context, o Options, timeout time.Duration) []Finding {
	x := &examination{Options: o}
	x.owner = sync.OnceValues(func() (sqlitedb.Owner, error) { return sqlitedb.OwnerOf(o.Config.Data) })
	return clean(Run(ctx, x.checks(), timeout), o.Config.Secrets())
}

// examination is what the checks share.
type examination struct {
	Options
	// owner says who has the data folder.
	owner func() (sqlitedb.Owner, error)
}

func (x *examination) checks() []Check {
	list := []Check{
		{"open files", x.files},
		{"kernel", x.kernel},
		{"memory", x.memory},
		{"clock", x.clock},
		{"data folder", x.dataFolder},
		{"listen", x.listen},
		{"names", x.names},
		{"broker", x.broker},
	}
	for _, r := range x.Config.SMTP {
		list = append(list, Check{"relay " + r.Name, func(ctx context.Context) []Finding { return one(judgeRelay(x.Relay(ctx, r.Name), r, x.System.Now())) }})
	}
	for _, a := range x.Config.SMPP {
		list = append(list, Check{"SMS centre " + a.Name, func(ctx context.Context) []Finding { return one(x.centre(ctx, a)) }})
	}
	return append(list, Check{"feed folder", x.feedFolder}, Check{"public URL", x.publicURL})
}

func one(f Finding) []Finding { return []Finding{f} }

// engine returns the folder below proc of the process that limits are read of, and
// whether that is the engine; if none runs here, it is this process.
func (x *examination) engine() (process string, running bool) {
	owner, err := x.owner()
	if err == nil && owner.Held && owner.Process > 0 && owner.Host == x.System.Host && x.System.Host != "" {
		at := "proc/" + strconv.Itoa(owner.Process)
		if _, err := x.System.text(at + "/limits"); err == nil {
			return at, true
		}
	}
	return "proc/self", false
}

// held says whether an engine has the data folder, wherever it runs.
func (x *examination) held() bool {
	owner, err := x.owner()
	return err == nil && owner.Held
}
