package main

import (
	"errors"
	"fmt"
	"net"
)

// teardown closes what was opened, the last first.
type teardown []struct {
	name  string
	close func() error
}

func (t *teardown) add(name string, close func() error) {
	*t = append(*t, struct {
		name  string
		close func() error
	}{name, close})
}

func (t *teardown) close() (err error) {
	for i := len(*t) - 1; i >= 0; i-- {
		step := (*t)[i]
		if e := step.close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, fmt.Errorf("closing the %s: %w", step.name, e))
		}
	}
	return err
}
