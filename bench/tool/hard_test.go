package tool

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// asOwner names the variable that makes this test binary a process that starts an
// smtp-sink, says where, and hangs.
const asOwner = "TOCSIN_TEST_OWNS_SMTP_SINK"

// What was started ends with who started it, however that ends.
func TestServersDieWithTheirOwner(t *testing.T) {
	if os.Getenv(asOwner) != "" {
		s, err := StartSMTPSink()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(s.Address)
		fmt.Println(s.dir)
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a program's life to another's")
	}
	_, err := Find("smtp-sink", "postfix")
	installed(t, err)
	owner := exec.Command(os.Args[0], "-test.run", "^TestServersDieWithTheirOwner$")
	owner.Env = append(os.Environ(), asOwner+"=yes")
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	said.Scan()
	address := said.Text()
	said.Scan()
	dir := said.Text()
	defer os.RemoveAll(dir)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = owner.Process.Kill()
	_ = owner.Wait() // killed
	// The sink says hello, and then nothing until it ends.
	for greeting := bufio.NewReader(conn); err == nil; {
		_, err = greeting.ReadByte()
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("smtp-sink still listens")
	}
}
