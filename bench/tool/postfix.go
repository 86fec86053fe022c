package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// SMTPSink is Postfix's smtp-sink: it takes every mail and keeps none.
type SMTPSink struct {
	*Server
	counts string // the file
}

// StartSMTPSink starts one. Its address is a relay that offers PIPELINING, and
// neither TLS nor login. The caller must Close it.
func StartSMTPSink() (*SMTPSink, error) {
	program, err := Find("smtp-sink", "postfix")
	if err != nil {
		return nil, err
	}
	sink := &SMTPSink{}
	sink.Server, err = start(func(address string) (*Server, error) {
		dir, err := os.MkdirTemp("", "tocsin-smtp-sink-")
		if err != nil {
			return nil, fmt.Errorf("make smtp-sink's folder: %w", err)
		}
		s := &Server{dir: dir, cmd: exec.Command(program, "-c", address, "1024")}
		if os.Getuid() == 0 {
			// It refuses to be root. With its own -u it would outlive us: the kernel
			// forgets whose death was to end it when a process changes its user.
			if s.as, err = nobody(); err != nil {
				return nil, errors.Join(err, s.removeDir())
			}
		}
		// To a file, not to a pipe: it counts with every mail, and a reader would
		// have to run as often.
		sink.counts = filepath.Join(dir, "counts")
		counts, err := os.Create(sink.counts)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make smtp-sink's file: %w", err), s.removeDir())
		}
		s.cmd.Stdout = counts
		s.given = counts
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return sink, nil
}

// nobody is the user without rights.
func nobody() (*syscall.Credential, error) {
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("find the user that smtp-sink runs as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the user nobody has no number: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the group of nobody has no number: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Mails is how many it has taken. It may know of the last ones some milliseconds
// after its answers to them.
func (s *SMTPSink) Mails() (int, error) {
	f, err := os.Open(s.counts)
	if err != nil {
		return 0, fmt.Errorf("read what smtp-sink counted: %w", err)
	}
	defer f.Close()
	// The last word is what counts, and it may have begun.
	var end [256]byte
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.ReadAt(end[:min(size, int64(len(end)))], max(size-int64(len(end)), 0))
	}
	if err != nil && err != io.EOF {
		return 0, fmt.Errorf("read what smtp-sink counted: %w", err)
	}
	return lastCount(end[:min(size, int64(len(end)))]), nil
}

// lastCount reads what smtp-sink -c says over and over, "sess=1 quit=0 mesg=7" and a
// carriage return, up to the last that is whole; 0 if there is none.
func lastCount(said []byte) int {
	end := bytes.LastIndexByte(said, '\r')
	if end < 0 {
		return 0
	}
	at := bytes.LastIndex(said[:end], []byte("mesg="))
	if at < 0 {
		return 0
	}
	n, err := strconv.Atoi(string(said[at+len("mesg=") : end]))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
