// Package chaos kills the engine again and again, over each queue, and says whether
// what it promises held.
//
// Promise: every kill is tried as the crash tests of internal/crash try theirs, and
// judged by the same words: what the peers received, and what the ledger said. The
// moments follow from a seed, so that what was found can be looked for again. What a
// broken promise left stays in a folder that is named, everything else is removed.
//
// Words: a round is one kill; a trial is up to 25 of them on one store, judged at its
// end; a loss is what a kill made the engine forget.
package chaos
