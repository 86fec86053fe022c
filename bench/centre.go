package main

import (
	"time"

	"github.com/tocsin/tocsin/bench/scenario"
)

type centreCommand struct {
	Hold time.Duration `help:"Answer messages after this."`
}

// Run is the SMS centre until standard input ends.
func (c *centreCommand) Run(p *program) error { return scenario.ServeCentre(c.Hold, p.stdin, p.stdout) }
