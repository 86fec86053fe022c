package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/sink"
	"github.com/tocsin/tocsin/internal/peer"
)

// far is the far side: a sink in a process of its own.
type far struct {
	*run.Process
	sink.Remote
	ca string
}

// startSink starts one for a population, which takes the sequences from 1 on.
func (r *Rig) startSink(ctx context.Context, p population, sequences int, mix peer.Mix) (*far, error) {
	at := p.addresses()
	args := []string{"sink", "--port", strconv.Itoa(r.port), "--targets", strconv.Itoa(p.targets + warmTargets),
		"--sequences", strconv.Itoa(sequences), "--hosts", strconv.Itoa(at.Hosts)}
	if len(mix.Shares) > 0 || mix.Hold > 0 {
		mixed := p.targets
		if p.hot > 0 {
			mixed = p.hot
		}
		args = append(args, "--hot", strconv.Itoa(p.hot), "--mixed", strconv.Itoa(mixed), "--mix", mix.String(), "--hold", mix.Hold.String())
	}
	if at.Shared {
		args = append(args, "--shared")
	}
	if p.scheme == "https" {
		args = append(args, "--ca", filepath.Join(r.Folder, "ca.pem"))
	}
	process, err := r.start("sink", args...)
	if err != nil {
		return nil, err
	}
	var address sink.Address
	line, err := process.Line(ctx)
	if err == nil {
		err = json.Unmarshal(line, &address)
	}
	if err != nil {
		process.Kill()
		return nil, fmt.Errorf("the sink did not say where it listens: %w", err)
	}
	return &far{Process: process, Remote: sink.Remote{Control: address.Control, Client: r.http}, ca: address.CA}, nil
}

// delivered counts the targets that answered a sequence.
func (f *far) delivered(ctx context.Context, sequence int) (int, error) {
	counts, err := f.Counts(ctx)
	if err != nil {
		return 0, errors.Join(f.Died(), err)
	}
	return counts.Delivered[sequence-1], nil
}

// await waits until so many targets have answered a sequence, a process ends that
// should run, or patience ends: then what is missing is lost, which is no error. It
// returns how many answered.
func (f *far) await(ctx context.Context, sequence, want int, patience time.Duration, progress func(string), sender *run.Process) (int, error) {
	deadline := time.Now().Add(patience)
	for {
		got, err := f.delivered(ctx, sequence)
		if err != nil || got >= want || time.Now().After(deadline) {
			return got, err
		}
		if err := sender.Died(); err != nil {
			return got, err
		}
		progress(fmt.Sprintf("%d of %d", got, want))
		if err := run.Sleep(ctx, 20*time.Millisecond); err != nil {
			return got, err
		}
	}
}

// hangUp closes all connections and waits until the sink is rid of them.
func (f *far) hangUp(ctx context.Context) error {
	if err := f.HangUp(ctx); err != nil {
		return err
	}
	for deadline := time.Now().Add(hangUpPatience); ; {
		counts, err := f.Counts(ctx)
		if err != nil {
			return err
		}
		if counts.Connections == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d connections to the sink are still there after they were closed", counts.Connections)
		}
		if err := run.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

const hangUpPatience = 20 * time.Second

// close ends the sink. What it had to say was asked before.
func (f *far) close() error { return f.Stop(10 * time.Second) }

// clear removes what an engine left.
func (r *Rig) clear(folder string) error { return os.RemoveAll(folder) }
