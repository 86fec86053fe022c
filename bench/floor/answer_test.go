package floor

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAnswers(t *testing.T) {
	for answer, want := range map[string]int{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                                  200,
		"HTTP/1.1 204 \r\nServer: x\r\nContent-Length: 2\r\nVary: y\r\n\r\nok":          204,
		"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 11\r\n\r\nout of tea\n":  500,
		"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 3\r\n\r\n": 429,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nrest":                              0,
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nres":                               0,
		"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n":                                0,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                                 0,
		"HTTP/1.1 200 OK\r\n\r\n":                                                       0,
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n":                                  0,
		"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n":                                  0,
		"HTTP/1.1 200":                  0,
		"\r\n\r\n":                      0,
		"":                              0,
		strings.Repeat("x", answerSize): 0,
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(answer), "in bytes": iotest.OneByteReader(strings.NewReader(answer))} {
			if name == "in bytes" && strings.HasSuffix(answer, "rest") {
				continue // the rest has not come yet, and is the next one's fault
			}
			var buffer [answerSize]byte
			if got, err := readAnswer(r, &buffer); got != want || (err == nil) != (want != 0) {
				t.Errorf("%q %s: %d, %v", answer, name, got, err)
			}
		}
	}
	var buffer [answerSize]byte
	if _, err := readAnswer(iotest.ErrReader(io.ErrClosedPipe), &buffer); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// What is parsed does not hang on how it came.
func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n")
	f.Fuzz(func(t *testing.T, answer string) {
		var once, bytes [answerSize]byte
		status, err := readAnswer(strings.NewReader(answer), &once)
		slow, slowErr := readAnswer(iotest.OneByteReader(strings.NewReader(answer)), &bytes)
		if err == nil && (slowErr != nil || slow != status || status < 100 || status > 999) {
			t.Errorf("%d at once, %d and %v in bytes", status, slow, slowErr)
		}
		if errors.Is(err, errRest) && slowErr != nil {
			t.Error(slowErr)
		}
	})
}
