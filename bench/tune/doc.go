// Package tune tries settings out: one at a time, with the work of a scenario, on the
// engine and the sink of the benchmark, and says which value is better than another.
//
// Promise: values take turns within every round, each second round the other way
// round, so that what else the machine does falls on all of them alike. A value is
// called better only if it was so in every round and in the median by more than the
// noise, and better than the default only after five rounds. A setting
// that this machine doesn't let us try is left out, and the results say why. Whatever a
// sweep changes is changed for the processes that it starts alone, settings of the
// kernel within a network namespace that ends with them.
//
// Words: a [Sweep] is one setting with the [Value]s to try; a [Trial] is one
// measurement at one of them; a round is a trial of each value. A value beats another
// if it is better beyond the noise.
package tune
