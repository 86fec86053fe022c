package floor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// answerSize is the longest answer, body included, that a floor reads, in bytes.
const answerSize = 512

var (
	errAnswer = errors.New("the answer is not HTTP/1.1 with a Content-Length in 512 bytes")
	errRest   = errors.New("something came after the answer")
)

// readAnswer reads one answer into the buffer and returns its status.
func readAnswer(from io.Reader, buffer *[answerSize]byte) (status int, err error) {
	n := 0
	for {
		read, err := from.Read(buffer[n:])
		if read == 0 {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, fmt.Errorf("no answer: %w", err)
		}
		n += read
		status, size, err := parseAnswer(buffer[:n])
		switch {
		case err != nil:
			return 0, err
		case size > 0 && n > size:
			return 0, errRest
		case size > 0 && n == size:
			return status, nil
		case size > len(buffer) || n == len(buffer):
			return 0, errAnswer
		}
	}
}

// parseAnswer reads the head of an answer (RFC 9112). size is that of the whole
// answer, 0 if the head is not all there.
func parseAnswer(b []byte) (status, size int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, 0, nil
	}
	head := b[:end+2]
	size = end + 4
	const version = "HTTP/1.1 "
	if len(head) < len(version)+4 || string(head[:len(version)]) != version {
		return 0, 0, errAnswer
	}
	status, err = strconv.Atoi(string(head[len(version) : len(version)+3]))
	if err != nil || status < 100 || status > 999 {
		return 0, 0, errAnswer
	}
	at := bytes.Index(head, []byte("\r\nContent-Length: "))
	if at < 0 {
		return 0, 0, errAnswer
	}
	value, _, _ := bytes.Cut(head[at+len("\r\nContent-Length: "):], []byte("\r\n"))
	length, err := strconv.ParseUint(string(value), 10, 16)
	if err != nil {
		return 0, 0, errAnswer
	}
	return status, size + int(length), nil
}
