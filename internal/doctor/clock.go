package doctor

import (
	"context"
	"fmt"
	"time"
)

func (x *examination) clock(context.Context) []Finding {
	kernel, err := x.System.Clock()
	sync := judgeSynchronised(kernel)
	if err != nil {
		sync = Finding{Check: sync.Check}.unread(err)
	}
	return []Finding{judgeDate(x.System.Now(), x.Built), sync}
}

func judgeDate(now, built time.Time) Finding {
	f := Finding{
		Check: "clock", Wanted: "a date after this program was built",
		Effect: "certificates are refused, updates count as coming from the future, and deliveries expire at the wrong time",
		Fix:    "set the clock, and let chrony or systemd-timesyncd keep it",
	}
	found := now.UTC().Format(time.DateTime) + " UTC"
	if built.IsZero() { // a build that doesn't know is younger than this line all the same
		built = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	if now.Before(built.Add(-24 * time.Hour)) {
		f.Wanted = "after " + built.UTC().Format(time.DateOnly) + ", when this program was built"
		return f.fail(found)
	}
	return f.ok(found)
}

func judgeSynchronised(c Clock) Finding {
	f := Finding{
		Check: "clock synchronised", Wanted: "yes",
		Effect: "a clock that drifts by minutes refuses fresh updates as coming from the future, and receivers refuse signatures as too old",
		Fix:    "start chrony or systemd-timesyncd; on a virtual machine whose host keeps the time this may be all right",
	}
	if !c.Synchronised {
		return f.warn("no")
	}
	return f.ok(fmt.Sprintf("yes, off by %v at most", c.Off.Round(time.Millisecond)))
}
