// Package run starts the processes of a benchmark and says what they cost.
//
// Promise: a process that was started is waited for, and does not outlive this
// one, however this one ends (on Linux). What it cost is the kernel's account in
// /proc, of that process alone and of the measured phase alone.
//
// Words: a [Process] is one program in a process of its own; an [Engine] is one that
// is `tocsin serve`, with its API; a [Watch] is one
// measured phase of some processes; [Usage] is what it cost one of them; [Limits]
// are what the machine allows.
package run
