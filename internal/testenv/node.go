package testenv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const loopback = "127.0.0.1"

// node is where a private broker lives: its programs, folder and ports. It
// does not change after newNode.
type node struct {
	server string // the rabbitmq-server script
	epmd   string
	dir    string // holds everything, mode 0700
	ports  ports
}

// findServer looks for RabbitMQ's own script. Debian's one in /usr/sbin is a
// wrapper which changes user and folder and is of no use here.
func findServer() (string, error) {
	for _, name := range []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// newNode chooses ports and writes the folder of a broker still to be started.
func newNode(server string, opts Options) (_ node, err error) {
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		return node{}, fmt.Errorf("epmd, Erlang's name server, is not in PATH: %w", ErrNotInstalled)
	}
	n := node{server: server, epmd: epmd}
	if n.ports, err = freePorts(); err != nil {
		return node{}, err
	}
	// Short, because a socket's path may not exceed 107 bytes.
	if n.dir, err = os.MkdirTemp("", "tocsin-mq-"); err != nil {
		return node{}, fmt.Errorf("can't make the broker's folder: %w", err)
	}
	config := fmt.Sprintf("listeners.tcp.1 = %s:%d\nlog.console = true\nlog.file = false\n", loopback, n.ports.amqp)
	if opts.Heartbeat > 0 {
		config += fmt.Sprintf("heartbeat = %d\n", opts.Heartbeat/time.Second)
	}
	for name, text := range map[string]string{
		"rabbitmq.conf":   config + opts.Config + "\n",
		"enabled_plugins": "[].\n",
		".erlang.cookie":  rand.Text(),
	} {
		// Erlang refuses a cookie that others can read.
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			return node{}, errors.Join(fmt.Errorf("can't write the broker's folder: %w", err), os.RemoveAll(n.dir))
		}
	}
	return n, nil
}

func (n node) path(name string) string { return filepath.Join(n.dir, name) }
func (n node) adminSocket() string     { return n.path("admin.sock") }

func (n node) url() string {
	return withVhost(fmt.Sprintf("amqp://guest:guest@%s:%d/", loopback, n.ports.amqp), "/")
}

// env is the whole environment of the node's programs: nothing of the caller's
// but PATH, so that no RABBITMQ_… or ERL_… variable of the machine leaks in.
func (n node) env() []string {
	onLoopback := "-kernel inet_dist_use_interface {127,0,0,1}"
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"HOME=" + n.dir, // where Erlang looks for the cookie
		"ERL_EPMD_ADDRESS=" + loopback,
		fmt.Sprint("ERL_EPMD_PORT=", n.ports.epmd),
		"ERL_CRASH_DUMP_SECONDS=0",
		"RABBITMQ_NODENAME=tocsin@localhost",
		fmt.Sprint("RABBITMQ_DIST_PORT=", n.ports.dist),
		"RABBITMQ_CONF_ENV_FILE=/dev/null", // not the machine's
		"RABBITMQ_CONFIG_FILE=" + n.path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + n.path("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.path("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + n.path("data"),
		"RABBITMQ_LOG_BASE=" + n.path("log"),
		"RABBITMQ_SCHEMA_DIR=" + n.path("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + n.path("config"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=" + onLoopback,
		"RABBITMQ_CTL_ERL_ARGS=" + onLoopback,
		"RABBITMQ_CTL_DIST_PORT_MIN=0", // any free port
		"RABBITMQ_CTL_DIST_PORT_MAX=0",
		// Makes the script become Erlang instead of waiting for it: the pid we
		// start is the broker's, and signals reach the broker alone.
		"RUNNING_UNDER_SYSTEMD=true",
	}
}

// explain adds to err what the logs say of it, and names a port conflict.
func (n node) explain(err error) error {
	if err == nil {
		return nil
	}
	var lines, complaints []string
	for _, name := range []string{"epmd.log", "broker.log"} {
		log, _ := os.ReadFile(n.path(name)) // missing if it came to nothing before
		lines = append(lines, strings.Split(strings.TrimSpace(string(log)), "\n")...)
	}
	for _, line := range lines {
		if strings.Contains(line, "eaddrinuse") || strings.Contains(line, "in use") {
			err = errors.Join(err, syscall.EADDRINUSE)
		}
		if strings.Contains(line, "[error]") {
			complaints = append(complaints, line)
		}
	}
	if len(complaints) == 0 {
		complaints = lines[max(0, len(lines)-20):]
	}
	return fmt.Errorf("%w; its log says:\n%s", err, strings.Join(complaints[:min(20, len(complaints))], "\n"))
}
