package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/doctor"
	"github.com/tocsin/tocsin/internal/peer"
	"github.com/tocsin/tocsin/internal/testenv"
)

// findings are the report of one run, by check.
type findings map[string]doctor.Finding

func parseFindings(t *testing.T, code int, stdout string) findings {
	t.Helper()
	var report struct {
		Failures int
		Checks   []doctor.Finding
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if (code == exitFailed) != (report.Failures > 0) || code != exitDone && code != exitFailed {
		t.Errorf("exit code %d with %d failures", code, report.Failures)
	}
	byCheck := make(findings)
	for _, f := range report.Checks {
		byCheck[f.Check] = f
	}
	return byCheck
}

func (all findings) want(t *testing.T, check string, r doctor.Result, found string) {
	t.Helper()
	if f := all[check]; f.Result != r || !strings.Contains(f.Found, found) {
		t.Errorf("%s: %s %q, want %s with %q", check, f.Result, f.Found, r, found)
	}
}

// runDoctor examines a configuration and returns what it says of it.
func runDoctor(t *testing.T, file string) findings {
	t.Helper()
	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "doctor", "--config", file, "--json", "--timeout", "30s")
	if stdout == "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, secret := range []string{"hush-hush-1", "hush-hush-2", "hush-hush-3", "token-of-the-test"} {
		if strings.Contains(stdout+stderr, secret) {
			t.Errorf("%q is shown:\n%s%s", secret, stdout, stderr)
		}
	}
	return parseFindings(t, code, stdout)
}

func writeConfig(t *testing.T, format string, args ...any) (file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "tocsin.yaml")
	text := fmt.Sprintf("data: %q\ntokens: [token-of-the-test]\n", filepath.Join(dir, "data")) + fmt.Sprintf(format, args...)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// freePort is one that nothing listens on, for the moment.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(freeAddr(t))
	return port
}

// TestDoctorWithEverythingThere has a real broker, and peers that would tell of
// anything sent to them.
func TestDoctorWithEverythingThere(t *testing.T) {
	relay, err := peer.StartSMTP(peer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	smsc, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "hush-hush-3"})
	if err != nil {
		t.Fatal(err)
	}
	defer smsc.Close()
	all := runDoctor(t, writeConfig(t, `
listen: 127.0.0.1:%s
queue: %q
smtp: [{name: main, url: %q, from: "s@example.com"}]
smpp: [{name: acme, url: %q, source: STATUS}, {name: alone, url: %q, source: STATUS, exclusive: true}]
`, freePort(t), testenv.Vhost(t), relay.URL(), smsc.URL(), smsc.URL()))
	all.want(t, "broker", doctor.OK, "RabbitMQ 3.")
	all.want(t, "broker permissions", doctor.OK, "configure, write, read")
	all.want(t, "broker queues", doctor.OK, "none yet")
	all.want(t, "relay main", doctor.OK, "not encrypted, no login, PIPELINING")
	all.want(t, "SMS centre acme", doctor.OK, "bound and unbound")
	all.want(t, "SMS centre alone", doctor.Skipped, "exclusive")
	all.want(t, "data folder", doctor.OK, "can be made")
	if n := len(relay.Receipts()) + len(smsc.Receipts()); n > 0 || smsc.Binds() > 0 {
		t.Errorf("%d messages were sent, %d binds are left", n, smsc.Binds())
	}
}

func TestDoctorWithEverythingWrong(t *testing.T) {
	broker, err := url.Parse(testenv.RabbitMQURL(t))
	if err != nil {
		t.Fatal(err)
	}
	broker.User = url.UserPassword("guest", "hush-hush-1")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	smsc, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "another"})
	if err != nil {
		t.Fatal(err)
	}
	defer smsc.Close()
	dead := freePort(t)
	file := writeConfig(t, `
public_listen: %q
queue: %q
smtp: [{name: dead, url: "smtp://user:hush-hush-2@127.0.0.1:%s", from: "s@example.com"}]
smpp: [{name: wrong, url: %q, source: STATUS}]
`, taken.Addr(), broker, dead, strings.Replace(smsc.URL(), "another", "hush-hush-3", 1))
	all := runDoctor(t, file)
	all.want(t, "public_listen "+taken.Addr().String(), doctor.Failure, "held by something else")
	all.want(t, "broker", doctor.Failure, "refuses user, password or virtual host")
	all.want(t, "relay dead", doctor.Failure, "connect: refused")
	all.want(t, "SMS centre wrong", doctor.Failure, "bind refused: ESME_RINVPASWD")

	code, stdout, stderr := tocsin(t, t.Context(), "", nil, "doctor", "--config", file)
	if code != exitFailed || !strings.Contains(stdout, "\nFAILURE  relay dead\n  found   connect: refused\n") || !strings.Contains(stderr, " checks failed\n") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestDoctorBesideAnEngine runs a real engine, looks at it, and at what it left.
func TestDoctorBesideAnEngine(t *testing.T) {
	port := freePort(t)
	file := writeConfig(t, "listen: 127.0.0.1:%s\nqueue: %q\n", port, testenv.Vhost(t))
	engine, err := startChild("engine", t.TempDir(), append(os.Environ(), runVariable+"=1"), "serve", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	client, err := newClient("http://127.0.0.1:"+port, &program{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	if err := engine.awaitReady(t.Context(), docsPatience, client.ready); err != nil {
		t.Fatal(err)
	}
	all := runDoctor(t, file)
	all.want(t, "store", doctor.OK, "in use by a running engine (process ")
	all.want(t, "listen 127.0.0.1:"+port, doctor.OK, "which is ready")
	all.want(t, "broker queues", doctor.OK, " declared")
	if f := all["open files"]; !strings.Contains(f.Found, "in the running engine") {
		t.Errorf("%+v", f)
	}
	if err := client.ready(t.Context()); err != nil {
		t.Errorf("the engine was disturbed: %v", err)
	}
	if err := engine.stop(docsPatience); err != nil {
		t.Error(err)
	}
	all = runDoctor(t, file)
	all.want(t, "store", doctor.OK, "whole")
	all.want(t, "listen 127.0.0.1:"+port, doctor.OK, "free")
	all.want(t, "data folder", doctor.OK, "there, can be written")
}

// TestDoctorWithFewFiles gives a process of its own a lower limit.
func TestDoctorWithFewFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]doctor.Result{512: doctor.Failure, 2048: doctor.Warning} {
		command := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -n "+strconv.Itoa(limit)+` && exec "$0" "$@"`,
			self, "doctor", "--json", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:"+freePort(t))
		command.Env = append(os.Environ(), runVariable+"=1")
		stdout, err := command.Output()
		if _, failed := err.(*exec.ExitError); err != nil && !failed {
			t.Fatal(err)
		}
		all := parseFindings(t, command.ProcessState.ExitCode(), string(stdout))
		all.want(t, "open files", want, strconv.Itoa(limit)+" from here")
	}
}

func TestDoctorOfABadConfiguration(t *testing.T) {
	for text, says := range map[string]string{
		"store: postgres://u:hush-hush-1@db/x\n": "not available in this version",
		"queue: amqp\n":                          "needs the whole address",
		"smtp: [{name: a, url: \"smtp://h?tls=maybe\", from: \"s@example.com\"}]\n":         "may end in ?tls=starttls",
		"smpp: [{name: a, url: \"smpp://an-id-much-too-long:hush-hush-3@h\", source: S}]\n": "system_id of 1 to 15",
		"retries: 3\n": "is not a key",
	} {
		code, stdout, stderr := tocsin(t, t.Context(), "", nil, "doctor", "--config", writeConfig(t, "%s", text))
		if code != exitUsage || !strings.Contains(stderr, says) || stdout != "" || strings.Contains(stderr, "hush") {
			t.Errorf("%sexit code %d, %q %q", text, code, stdout, stderr)
		}
	}
	if code, _, stderr := tocsin(t, t.Context(), "", nil, "doctor", "--timeout", "0s"); code != exitUsage || !strings.Contains(stderr, "--timeout") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestDoctorLeavesNothing runs in a folder of its own, with the defaults.
func TestDoctorLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	tocsin(t, t.Context(), "", nil, "doctor")
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
