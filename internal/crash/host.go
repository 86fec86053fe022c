package crash

import "context"

// Host is what a trial runs in: a test, or [Run]. It says what went wrong, ends the
// trial (Fatal, in the trial's own goroutine), and cleans up after it. Each method is
// that of [testing.T].
type Host interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	// TempDir is for what is removed, ArtifactDir for what is kept if that is wanted.
	TempDir() string
	ArtifactDir() string
	Failed() bool
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
