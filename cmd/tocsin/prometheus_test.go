package main

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealProbes follows a component from the probes of a real blackbox exporter, by way
// of a real Prometheus and a real Alertmanager, to a subscriber's webhook: it goes down
// and comes back. Their configurations are those of deploy/ but for times and addresses.
func TestRealProbes(t *testing.T) {
	prometheus := needs(t, "prometheus")
	exporter := needs(t, "prometheus-blackbox-exporter", "blackbox_exporter")
	alertmanager := needs(t, "prometheus-alertmanager", "alertmanager")
	heard := &subscriber{}
	hook := httptest.NewServer(heard)
	defer hook.Close()
	base, _ := serving(t, t.TempDir(), "egress: {allow: [\"127.0.0.0/8\"], http: true}\nlifecycle: {cooldown: 1h, window: 100ms}\n")
	post(t, base+"/v1/targets/import", "application/x-ndjson", `{"channel":"webhook","address":"`+hook.URL+`","every_update":true}`, 200)

	component := &site{T: t, address: freeAddr(t)}
	component.up()
	defer component.down()
	manager := startAlertmanager(t, alertmanager, base)
	probes := startExporter(t, exporter, component.certificate())
	judge := startPrometheus(t, prometheus, component.address, probes, strings.TrimPrefix(manager.url, "http://"))
	eventually(t, func() bool { // each location reaches it
		_, answer := get(judge + "/api/v1/query?query=" + url.QueryEscape("sum(probe_success)"))
		return strings.Contains(answer, `"3"]`)
	})

	component.down()
	eventually(t, func() bool { return len(heard.said()) > 0 })
	if first := heard.said()[0]; first != "1 investigating critical [checkout]" {
		t.Errorf("the first that the webhook got is %s", first)
	}
	component.up()
	eventually(t, func() bool { said := heard.said(); return strings.Contains(said[len(said)-1], " resolved ") })
	for i, said := range heard.said() {
		if heard.incident(i) != heard.incident(0) {
			t.Errorf("%s is of another incident", said)
		}
	}
}

func (s *subscriber) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.updates...)
}

// needs finds a program by one of its names.
func needs(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Skipf("SKIPPED: %s is not installed (make deps does that), so no real one took part", names[0])
	return ""
}

// site is what the probes look at, a web site with TLS that goes down and comes back at
// the same address.
type site struct {
	*testing.T
	address string
	server  *httptest.Server
}

func (s *site) up() {
	s.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err := server.Listener.Close(); err != nil {
		s.Fatal(err)
	}
	eventually(s.T, func() (ok bool) {
		listener, err := net.Listen("tcp", s.address)
		server.Listener = listener
		return err == nil
	})
	server.StartTLS()
	s.server = server
}

func (s *site) down() { s.server.Close() }

// certificate is the authority of every site's certificate.
func (s *site) certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// startExporter runs a blackbox exporter, with the configuration in deploy/, that
// believes an authority.
func startExporter(t *testing.T, program string, authority []byte) (address string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	address = freeAddr(t)
	command := exec.Command(program, "--config.file="+filepath.Join("..", "..", "deploy", "samples", "blackbox.yml"), "--web.listen-address="+address, "--log.level=error")
	command.Env = append(os.Environ(), "SSL_CERT_FILE="+file)
	begin(t, command)
	eventually(t, func() bool { code, _ := get("http://" + address + "/-/healthy"); return code == http.StatusOK })
	return address
}

// startPrometheus runs one with scrapes and rules of deploy/, and short times.
func startPrometheus(t *testing.T, program, site, exporter, alertmanager string) (base string) {
	t.Helper()
	dir, listen := t.TempDir(), freeAddr(t)
	for name, changes := range map[string][][2]string{
		"prometheus.yml": {
			{"scrape_interval: 15s", "scrape_interval: 1s"}, {"evaluation_interval: 15s", "evaluation_interval: 1s"},
			{"https://checkout.example.com/", "https://" + site + "/"}, {"127.0.0.1:9093", alertmanager},
			{"10.1.0.5:9115", exporter}, {"10.2.0.5:9115", exporter}, {"10.3.0.5:9115", exporter},
		},
		"probes.rules.yml": {{"for: 5m", "for: 1s"}},
	} {
		text := sample(t, filepath.Join("samples", name), changes...)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--log.level=error"))
	base = "http://" + listen
	eventually(t, func() bool { code, _ := get(base + "/-/ready"); return code == http.StatusOK })
	return base
}

// sample is a file of deploy/ with changes, each of which it has to have.
func sample(t *testing.T, name string, changes ...[2]string) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	for _, change := range changes {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("deploy/%s has no %q", name, change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	return text
}

// begin runs a program until the test ends.
func begin(t *testing.T, command *exec.Cmd) {
	t.Helper()
	command.SysProcAttr = childAttributes()
	command.Stdout, command.Stderr = t.Output(), t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // says that it was killed
	})
}
