package testenv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// One broker for all that a broker can survive; the subtests build on each
// other because every start costs five seconds.
func TestRabbitMQ(t *testing.T) {
	broker := startForTest(t, Options{Heartbeat: 7 * time.Second})

	t.Run("proposes the configured heartbeat", func(t *testing.T) {
		out, err := broker.Ctl(t.Context(), "environment")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "{heartbeat,7}") {
			t.Errorf("heartbeat of 7 s is missing in:\n%s", out)
		}
	})

	t.Run("virtual hosts are separate and deleted", func(t *testing.T) {
		for _, kv := range broker.Env() {
			name, value, _ := strings.Cut(kv, "=")
			t.Setenv(name, value)
		}
		var one string
		t.Run("in use", func(t *testing.T) {
			one = Vhost(t)
			two := Vhost(t)
			declareQuorum(t, channel(t, one), "q")
			if _, err := channel(t, one).QueueDeclarePassive("q", true, false, false, false, nil); err != nil {
				t.Errorf("the queue is missing in its own virtual host: %v", err)
			}
			var refused *amqp.Error
			if _, err := channel(t, two).QueueDeclarePassive("q", true, false, false, false, nil); !errors.As(err, &refused) || refused.Code != amqp.NotFound {
				t.Errorf("passive declare in the other virtual host: %v, want 404", err)
			}
		})
		if conn, err := amqp.Dial(one); err == nil {
			conn.Close()
			t.Error("the virtual host outlived its test")
		}
		if got := RabbitMQURL(t); got != broker.URL() {
			t.Errorf("RabbitMQURL = %q, want the announced %q", got, broker.URL())
		}
	})

	t.Run("paused it answers nobody", func(t *testing.T) {
		ch := channel(t, broker.URL())
		if err := broker.Pause(); err != nil {
			t.Fatal(err)
		}
		declared := make(chan error, 1)
		go func() {
			_, err := ch.QueueDeclare("paused", false, true, true, false, nil)
			declared <- err
		}()
		poll(t, "the broker to be stopped", func() bool {
			return processState(t, broker.broker.cmd.Process.Pid) == "T"
		})
		if err := broker.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := <-declared; err != nil {
			t.Errorf("after Resume: %v", err)
		}
	})

	t.Run("confirmed messages survive a crash and a restart", func(t *testing.T) {
		confirmed := publishUntilOld(t, broker.URL())
		if err := broker.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := broker.Kill(); err == nil {
			t.Error("a second Kill found a running broker")
		}
		restart(t, broker)
		if err := broker.StopGraceful(t.Context()); err != nil {
			t.Fatal(err)
		}
		restart(t, broker)
		for _, want := range confirmed {
			if got := nextMessage(t, broker.URL()); got != want {
				t.Fatalf("got message %q, want %q", got, want)
			}
		}
	})

	t.Run("closed it leaves nothing", func(t *testing.T) {
		if left := processesOf(t, broker.node.dir); len(left) < 3 {
			t.Fatalf("found only %v of the running broker, epmd and guard: this test can't see", left)
		}
		if err := broker.Close(); err != nil {
			t.Fatal(err)
		}
		requireGone(t, broker.node.dir)
		if err := broker.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestBrokerDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	requireInstalled(t)
	const role = "TOCSIN_TESTENV_OWNER"
	if os.Getenv(role) != "" {
		broker, err := StartRabbitMQ(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("folder " + broker.node.dir + "\n")
		select {} // until killed
	}
	owner := exec.Command(os.Args[0], "-test.run=^TestBrokerDiesWithItsOwner$")
	owner.Env = append(os.Environ(), role+"=1")
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Process.Kill()
	var dir string
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		t.Log(lines.Text())
		dir, _ = strings.CutPrefix(lines.Text(), "folder ")
	}
	if !strings.HasPrefix(dir, os.TempDir()) {
		t.Fatalf("the owner started no broker: %q", dir)
	}
	if len(processesOf(t, dir)) < 3 {
		t.Fatal("no broker found: this test can't see")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	requireGone(t, dir)
}

func TestStartReportsTheBrokersLog(t *testing.T) {
	t.Parallel()
	requireInstalled(t)
	_, err := StartRabbitMQ(t.Context(), Options{Config: "no_such_key = 1"})
	if err == nil || !strings.Contains(err.Error(), "no_such_key") {
		t.Fatalf("error %v does not show what the broker complains of", err)
	}
	_, dir, _ := strings.Cut(err.Error(), os.TempDir()+"/tocsin-mq-")
	dir, _, _ = strings.Cut(dir, "/")
	requireGone(t, filepath.Join(os.TempDir(), "tocsin-mq-"+dir))
}

func requireInstalled(t *testing.T) {
	t.Helper()
	if _, err := findServer(); err != nil && testing.Short() {
		t.Skip(err)
	}
}

func startForTest(t *testing.T, opts Options) *RabbitMQ {
	t.Helper()
	requireInstalled(t)
	broker, err := StartRabbitMQ(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	return broker
}

func restart(t *testing.T, broker *RabbitMQ) {
	t.Helper()
	if err := broker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func declareQuorum(t *testing.T, ch *amqp.Channel, name string) {
	t.Helper()
	if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		t.Fatal(err)
	}
}

// publishUntilOld publishes to a new quorum queue, each message confirmed, for
// as long as a newborn queue can forget what it confirmed, and somewhat more.
func publishUntilOld(t *testing.T, url string) (confirmed []string) {
	t.Helper()
	ch := channel(t, url)
	declareQuorum(t, ch, "survivor")
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	old := time.After(1500 * time.Millisecond)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		body := strconv.Itoa(len(confirmed))
		confirm, err := ch.PublishWithDeferredConfirm("", "survivor", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := confirm.WaitContext(ctx); err != nil || !acked {
			t.Fatalf("message %s: confirmed %v, %v", body, acked, err)
		}
		confirmed = append(confirmed, body)
		select {
		case <-old:
			return confirmed
		case <-tick.C:
		}
	}
}

// nextMessage takes the oldest message of the queue. Right after a boot the
// queue can refuse for a while, and a refusal closes the channel.
func nextMessage(t *testing.T, url string) string {
	t.Helper()
	var body string
	poll(t, "a message in the queue", func() bool {
		msg, ok, err := channel(t, url).Get("survivor", true)
		body = string(msg.Body)
		return err == nil && ok
	})
	return body
}

// requireGone waits until no process names the folder and the folder is gone.
func requireGone(t *testing.T, dir string) {
	t.Helper()
	poll(t, "no process and no folder "+dir, func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist) && len(processesOf(t, dir)) == 0
	})
}

// processesOf returns the living processes with the folder in their arguments
// or environment: broker, its helpers, epmd, guard.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("only Linux shows the processes in /proc")
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")) // unreadable: somebody else's
		env, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if bytes.Contains(args, []byte(dir)) || bytes.Contains(env, []byte(dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processState is the state letter of proc_pid_stat(5): "T" is stopped.
func processState(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Skip("only Linux shows the state in /proc")
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}
