package crash

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// stand is the [Host] of a trial that is no test: everything is in one folder, and
// stays. It is for the goroutine of the trial.
type stand struct {
	ctx      context.Context
	folder   string
	faults   []string
	cleanups []func()
}

func newStand(ctx context.Context, folder string) *stand { return &stand{ctx: ctx, folder: folder} }

// run runs a trial in a goroutine of its own, which Fatal ends, and cleans up after
// it.
func (s *stand) run(trial func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.clean()
		trial()
	}()
	<-done
}

// clean goes on where one step is Fatal.
func (s *stand) clean() {
	if len(s.cleanups) == 0 {
		return
	}
	last := len(s.cleanups) - 1
	f := s.cleanups[last]
	s.cleanups = s.cleanups[:last]
	defer s.clean()
	f()
}

func (s *stand) Helper()                  {}
func (s *stand) Context() context.Context { return s.ctx }
func (s *stand) Cleanup(f func())         { s.cleanups = append(s.cleanups, f) }
func (s *stand) TempDir() string          { return s.folder }
func (s *stand) ArtifactDir() string      { return s.folder }
func (s *stand) Failed() bool             { return len(s.faults) > 0 }

// Logf adds to the file trial.log of the folder.
func (s *stand) Logf(format string, args ...any) {
	file, err := os.OpenFile(filepath.Join(s.folder, "trial.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(file, format+"\n", args...)
		err = cmp.Or(err, file.Close())
	}
	if err != nil {
		s.faults = append(s.faults, "the trial's own log: "+err.Error())
	}
}

func (s *stand) Errorf(format string, args ...any) {
	fault := fmt.Sprintf(format, args...)
	s.faults = append(s.faults, fault)
	s.Logf("FAULT: %s", fault)
}

func (s *stand) Error(args ...any) { s.Errorf("%s", fmt.Sprint(args...)) }

func (s *stand) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

func (s *stand) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprint(args...)) }
