package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/sink"
	"github.com/tocsin/tocsin/internal/peer"
)

// centreAddress is what it says first.
type centreAddress struct {
	Port int `json:"port"`
}

// centreQuestion asks what came of an incident.
type centreQuestion struct {
	Incident string    `json:"incident"`
	Since    time.Time `json:"since"`
}

// centreReport is the answer: what the phones received, not what anybody says.
type centreReport struct {
	Delivered       int `json:"delivered"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	// Invalid counts what no phone could show, whatever the incident.
	Invalid int `json:"invalid"`
	// WallS, P50MS and P99MS are of the answers, since the time in the question.
	WallS float64 `json:"wall_s"`
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
	// Latency is their distribution.
	Latency []result.Quantile `json:"latency"`
}

// CentreCommand is an SMS centre, in a process of its own: it says where it listens in
// a line of JSON, answers each line of JSON that asks about an incident, and ends with
// its input. It sends no delivery receipts.
type CentreCommand struct {
	Hold time.Duration `help:"Answer messages after this."`
}

// Run is the centre.
func (c *CentreCommand) Run(in io.Reader, out io.Writer) (err error) {
	smsc, err := peer.StartSMSC(peer.SMSCOptions{Quiet: true, Script: peer.Mix{Hold: c.Hold}.Behaviour})
	if err != nil {
		return err
	}
	defer func() {
		if closing := smsc.Close(); err == nil {
			err = closing
		}
	}()
	say, hear := json.NewEncoder(out), json.NewDecoder(in)
	if err := say.Encode(centreAddress{smsc.Port()}); err != nil {
		return fmt.Errorf("say where the SMS centre listens: %w", err)
	}
	for {
		var q centreQuestion
		if err := hear.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("the SMS centre was asked something else than a question: %w", err)
		}
		if err := say.Encode(reportOf(smsc, q)); err != nil {
			return fmt.Errorf("say what came to the SMS centre: %w", err)
		}
	}
}

// reportOf judges the receipts of an incident.
func reportOf(smsc *peer.SMSC, q centreQuestion) centreReport {
	var judge peer.Judge
	var took []time.Duration
	for _, r := range smsc.Receipts() {
		if r.Incident == q.Incident {
			judge.Receive(r)
			if r.Accepted() {
				took = append(took, r.AnsweredAt.Sub(q.Since))
			}
		}
	}
	v := judge.Verdict()
	report := centreReport{Delivered: v.Delivered, Duplicates: v.Duplicates, OrderViolations: v.OrderViolations}
	for _, n := range smsc.Report().Invalid {
		report.Invalid += n
	}
	if len(took) > 0 {
		slices.Sort(took)
		ms := func(percent int) float64 { return float64(took[(len(took)*percent+99)/100-1].Microseconds()) / 1000 }
		all := sink.NewHistogram()
		for _, d := range took {
			_ = all.RecordValue(min(d.Microseconds(), all.HighestTrackableValue()))
		}
		report.Latency = quantiles(all)
		report.P50MS, report.P99MS, report.WallS = ms(50), ms(99), took[len(took)-1].Seconds()
	}
	return report
}

// centre is one that runs.
type centre struct {
	*run.Process
	port int
}

func (r *Rig) startCentre(ctx context.Context, hold time.Duration) (*centre, error) {
	process, err := r.start("centre", "centre", "--hold", hold.String())
	if err != nil {
		return nil, err
	}
	var address centreAddress
	line, err := process.Line(ctx)
	if err == nil {
		err = json.Unmarshal(line, &address)
	}
	if err != nil {
		process.Kill()
		return nil, fmt.Errorf("the SMS centre did not say where it listens: %w", err)
	}
	return &centre{process, address.Port}, nil
}

// ask asks what came of an incident.
func (c *centre) ask(ctx context.Context, q centreQuestion) (*centreReport, error) {
	question, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if err := c.Tell(string(question)); err != nil {
		return nil, err
	}
	line, err := c.Line(ctx)
	if err != nil {
		return nil, err
	}
	report := new(centreReport)
	if err := json.Unmarshal(line, report); err != nil {
		return nil, fmt.Errorf("what the SMS centre answered: %w", err)
	}
	return report, nil
}

// close ends it, by the end of its input.
func (c *centre) close(ctx context.Context) error { return c.Wait(ctx) }
