package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/sink"
	"github.com/tocsin/tocsin/internal/peer"
)

// population is the targets that an engine has before anything is measured.
type population struct {
	targets int
	// hosts that they share; targets if each has its own.
	hosts int
	// hot is how many of them, from the first on, share one host; the others have
	// their own.
	hot int
	// scheme is that of webhooks; smtp and smpp are for mailboxes and phones.
	scheme string
}

// warmTargets is how many targets beyond those of a population are told once, of
// another page, before anything is measured.
const (
	warmTargets = 200
	warmPage    = "warm"
)

// addresses are where the targets are, the warm ones included.
func (p population) addresses() sink.Addresses {
	if p.hot > 0 {
		return sink.Addresses{Hosts: 1 + p.targets - p.hot + warmTargets, Hot: p.hot}
	}
	if p.hosts == p.targets {
		return sink.Addresses{Hosts: p.targets + warmTargets}
	}
	return sink.Addresses{Hosts: p.hosts, Shared: true}
}

// prepare returns a new data folder with the population in it. Targets are imported
// once; every engine that needs them gets a copy.
func (r *Rig) prepare(ctx context.Context, p population) (folder string, imported time.Duration, err error) {
	kept, ok := r.data[p]
	if !ok {
		kept = filepath.Join(r.Folder, fmt.Sprintf("targets-%d-%d-%d-%s", p.targets, p.hosts, p.hot, p.scheme))
		begun := time.Now()
		if err := r.populate(ctx, p, kept); err != nil {
			return "", 0, errors.Join(err, os.RemoveAll(kept))
		}
		imported = time.Since(begun)
		r.data[p] = kept
	}
	folder = filepath.Join(r.Folder, "data")
	if err := os.RemoveAll(folder); err != nil {
		return "", 0, fmt.Errorf("data folder: %w", err)
	}
	return folder, imported, copyFolder(kept, folder)
}

// populate imports the targets with an engine of their own.
func (r *Rig) populate(ctx context.Context, p population, folder string) error {
	o := engineOptions{data: folder, queue: "sqlite", port: r.port}
	// Without a relay or account there can be no targets; this one isn't there.
	switch nobody := fmt.Sprintf("127.0.0.1:%d", r.port); p.scheme {
	case "smtp":
		o.config = relayConfig(nobody)
	case "smpp":
		o.config = accountConfig(nobody)
	}
	e, err := r.startEngine(ctx, o)
	if err != nil {
		return err
	}
	at := p.addresses()
	err = e.importTargets(ctx, p.targets+warmTargets, func(b []byte, n int) []byte {
		b = append(b, `{"external_id":"b-`...)
		b = strconv.AppendInt(b, int64(n), 10)
		if n > p.targets {
			b = append(b, `","page":"`+warmPage...)
		}
		switch p.scheme {
		case "smtp":
			b = append(b, `","channel":"smtp","address":"`+peer.Mailbox(n)...)
		case "smpp":
			b = append(b, `","channel":"smpp","address":"`+peer.PhoneNumber(n)...)
		default:
			b = append(b, `","channel":"webhook","secrets":["`+secret+`"],"address":"`+at.URL(p.scheme, n, r.port)...)
		}
		return append(b, "\"}\n"...)
	})
	return errors.Join(err, e.Shut())
}

// secret is what webhooks are signed with.
const secret = "whsec_dG9jc2luLWJlbmNoLXNlY3JldC0wMTIzNDU2Nzg5"

// copyFolder copies the files of a folder and syncs them, so that no write of theirs
// is left to disturb what is measured.
func copyFolder(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy the data: %w", err)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("copy the data: %w", err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue // a socket or a folder has no targets
		}
		if err := copyFile(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return fmt.Errorf("copy the data: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
