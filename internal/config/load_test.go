package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const sample = "../../docs/samples/tocsin.yaml"

var noEnv []string

func envOf(pairs ...string) []string {
	var environ []string
	for i := 0; i < len(pairs); i += 2 {
		environ = append(environ, pairs[i]+"="+pairs[i+1])
	}
	return environ
}

func load(t *testing.T, yaml string, env []string, settings ...Setting) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, env, settings...)
	if err != nil {
		// Only the name, so that expectations don't depend on the folder.
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), path, "tocsin.yaml"))
	}
	return c, err
}

func mustLoad(t *testing.T, yaml string, env []string, settings ...Setting) *Config {
	t.Helper()
	c, err := load(t, yaml, env, settings...)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

func TestSampleIsTheDefault(t *testing.T) {
	c, err := Load(sample, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("the sample gives\n%+v\nand the default is\n%+v", c, want)
	}
	none, err := Load("", noEnv)
	if err != nil || !reflect.DeepEqual(none, Default()) {
		t.Errorf("without a file: %v, %v", none, err)
	}
}

// TestEveryKeyIsDocumented walks the struct, so that a new key can't be
// forgotten in the sample or in the text.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, path := range []string{sample, "../../docs/configuration.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var walk func(typ reflect.Type, prefix string)
		walk = func(typ reflect.Type, prefix string) {
			for f := range fieldsOf(typ) {
				name := f.Tag.Get("yaml")
				if name == "" {
					t.Errorf("%s%s has no key", prefix, f.Name)
				}
				want := name + ":"
				if strings.HasSuffix(path, ".md") {
					want = "`" + join(prefix, name) + "`"
				}
				if !strings.Contains(string(text), want) {
					t.Errorf("%s does not have %s (%s)", path, want, join(prefix, name))
				}
				inner := f.Type
				switch {
				case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct &&
					!isScalar(reflect.New(inner.Elem()).Elem()):
					walk(inner.Elem(), join(prefix, name)+"[]")
				case inner.Kind() == reflect.Struct && !isScalar(reflect.New(inner).Elem()):
					walk(inner, join(prefix, name))
				}
			}
		}
		walk(reflect.TypeFor[Config](), "")
	}
}

func TestLoad(t *testing.T) {
	c := mustLoad(t, `
listen: "[::1]:9000"
queue: amqp://user:${PW}@broker:5672/%2F
egress:
  allow: [10.0.0.0/8, 127.0.0.0/8:9000, "[fd00::/8]:8443", 192.0.2.7]
  http: true
  ports: [443]
  source: [192.0.2.1]
webhook:
  rate: 600/m
  hosts:
    Hooks.example.com: {rate: 1/s}
    hooks.example.com:8443: {window: 2, connect_timeout: 1s}
retry: {base: 1s500ms}
`, envOf("PW", "s3cr3t$not", "TOCSIN_RETRY_CAP", "30m", "TOCSIN_EGRESS_DENY", "10.1.0.0/16, 10.2.0.0/16",
		"TOCSIN_LISTEN", "127.0.0.1:1"),
		Setting{"--listen", "listen", "localhost:2"})

	if c.Queue != "amqp://user:s3cr3t$not@broker:5672/%2F" || c.Listen != "localhost:2" {
		t.Errorf("queue and listen are %q and %q", c.Queue, c.Listen)
	}
	wantAllow := []string{"10.0.0.0/8", "127.0.0.0/8:9000", "[fd00::/8]:8443", "192.0.2.7"}
	if !reflect.DeepEqual(c.Egress.Allow, wantAllow) || len(c.Egress.Deny) != 2 || !c.Egress.HTTP ||
		c.Egress.Source[0] != netip.MustParseAddr("192.0.2.1") || len(c.Egress.Ports) != 1 {
		t.Errorf("egress is %+v", c.Egress)
	}
	if c.Retry != (Retry{1500 * time.Millisecond, 30 * time.Minute, 24 * time.Hour}) {
		t.Errorf("retry is %+v", c.Retry)
	}
	base := HostLimits{Rate: 10, Burst: 20, Window: 64, Connections: 64, ConnectTimeout: 5 * time.Second, Timeout: 15 * time.Second}
	slow, narrow := base, base
	slow.Rate, slow.Burst = 1, 2
	narrow.Window, narrow.ConnectTimeout = 2, time.Second
	for provider, want := range map[string]HostLimits{
		"other.example.com:443":  base,
		"hooks.example.com:443":  slow,
		"HOOKS.example.com:8443": narrow,
	} {
		if got := c.Webhook.For(provider); got != want {
			t.Errorf("limits of %s are %+v, want %+v", provider, got, want)
		}
	}
	if l := slow.Limit(); l.PerSecond != 1 || l.Burst != 2 || !l.Valid() {
		t.Errorf("limit of the slow host is %+v", l)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct{ name, yaml, want string }{
		{"unknown key", "Listn: 127.0.0.1:1\n", `tocsin.yaml:1:1: "Listn": is not a key; did you mean listen?`},
		{"unknown inner key", "retry:\n  bas: 1s\n", `tocsin.yaml:2:3: retry."bas": is not a key; did you mean base?`},
		{"strange key", "retry: {\"\\n\": 1s}\n", `tocsin.yaml:1:9: retry."\n": is not a key; the keys here are base, cap, expires_after`},
		{"bad rate", "webhook:\n  rate: 100\n", `tocsin.yaml:2:9: webhook.rate: a rate is a decimal number`},
		{"bad duration", "retry: {cap: 2}", "tocsin.yaml:1:14: retry.cap: must be a duration from 1ms to 24h, such as 500ms, 2s or 24h"},
		{"out of bounds", "admission: 5", "tocsin.yaml:1:12: admission: must be a whole number from 100 to 1000000"},
		{"not a bool", "egress: {http: yes}", "egress.http: must be true or false"},
		{"bad port", "egress:\n  ports: [443, 99999]\n", "tocsin.yaml:2:16: egress.ports[1]: must be a whole number from 1 to 65535"},
		{"no ports", "egress: {ports: []}", "egress.ports: must have at least one port"},
		{"bad network", "egress: {allow: [10.0.0.0/33]}", "egress.allow[0]: must be an address or a network"},
		{"bad network port", `egress: {allow: ["10.0.0.1:0"]}`, "egress.allow[0]: must be an address or a network"},
		{"bad source", "egress: {source: [eth0]}", "egress.source[0]: must be an IP address of this machine"},
		{"list expected", "tokens: abc", "tocsin.yaml:1:9: tokens: must be a list"},
		{"value expected", "data: [a]", "data: must be a single value"},
		{"keys expected", "retry: 5s", "retry: must be keys and values: base, cap, expires_after"},
		{"top level", "- a", "tocsin.yaml:1:1: must be keys and values: listen, "},
		{"duplicate key", "data: a\ndata: b\n", `tocsin.yaml:2:1: this is not YAML: mapping key "data" already defined`},
		{"syntax", "tokens: [${A}]\n", "tocsin.yaml:1:11: this is not YAML: ',' or ']' must be specified (inside [ ] and { } quote"},
		{"two documents", "data: a\n---\ndata: b\n", "only one YAML document is read"},
		{"anchor", "data: &a b\n", "tocsin.yaml:1:7: data: anchors, aliases, tags"},
		{"missing variable", "data: /x/${NOPE}\n", "tocsin.yaml:1:7: data: needs the environment variable NOPE, which is not set"},
		{"bad variable", "data: ${no pe}\n", "data: has a ${ that is not ${NAME}"},
		{"control character", `data: "a\u0007"`, "data: must be one line of text"},
		{"empty entry", "tokens: [~]", "tokens[0]: is empty"},
		{"no data", `data: ""`, "data: must name a folder"},
		{"listen without port", "listen: 127.0.0.1", "tocsin.yaml:1:9: listen: must be an address and a port"},
		{"listen wide without tokens", "listen: 0.0.0.0:8080", "listen: must be a loopback address"},
		{"listen everywhere without tokens", "listen: :8080", "listen: must be a loopback address"},
		{"short token", "tokens: [abc]", "tokens[0]: must be at least 16"},
		{"bare amqp", "queue: amqp", "queue: needs the whole address, such as amqp://user:password@host:5672/vhost"},
		{"unknown queue", "queue: kafka://x", "queue: must be sqlite or a URL such as amqp://"},
		{"queue without host", "queue: amqp:///v", "queue: must be sqlite or a URL"},
		{"queue with bad port", "queue: amqp://h:99999/v", "queue: must be sqlite or a URL"},
		{"store", "store: mysql://x", "store: must be sqlite or a URL such as postgres://"},
		{"rates", "rates: sqlite", "rates: must be local or a URL such as redis://"},
		{"deployment", "deployment: A B", "deployment: must be 1 to 40 of"},
		{"host with scheme", "webhook: {hosts: {\"https://x\": {rate: 1/s}}}", `webhook.hosts["https://x"]: must be named as a host`},
		{"host twice", "webhook: {hosts: {a.example: {}, A.example: {}}}", `webhook.hosts["a.example"]: is there twice`},
		{"host burst", "webhook: {hosts: {a.example: {burst: 0}}}", `webhook.hosts["a.example"].burst: must be a whole number from 1`},
		{"base over cap", "retry: {base: 1h, cap: 1s}", "retry.base: must not be more than retry.cap"},
		{"callback secret", "callback: {secrets: [whsec_c2hvcnQ=]}", "tocsin.yaml:1:22: callback.secrets[0]: must be whsec_ and the base64"},
		{"callback secrets", "callback: {secrets: [a, b, c, d, e, f]}", "callback.secrets: must have at most 5"},
		{"rss link", "rss: {link: ftp://x}", "rss.link: must be an http or https URL"},
		{"same listeners", "public_listen: 127.0.0.1:8080", "public_listen: must differ from listen"},
		{"smtp name", "smtp: [{name: A, url: smtp://h, from: a@b.example}]", "smtp[0].name: must be 1 to 32"},
		{"smtp url", "smtp: [{name: a, url: http://h, from: a@b.example}]", "smtp[0].url: must be a URL such as smtp://"},
		{"smtp from", "smtp: [{name: a, url: smtp://h, from: nobody}]", "tocsin.yaml:1:39: smtp[0].from: must be a mailbox"},
		{"smtp without from", "smtp:\n  - name: a\n    url: smtp://h\n", "tocsin.yaml:2:5: smtp[0].from: must be a mailbox"},
		{"smtp twice", "smtp: [{name: a, url: smtp://h, from: a@b.example}, {name: a, url: smtp://h, from: a@b.example}]",
			"smtp[1].name: is used twice"},
		{"smpp", "smpp: [{name: a, url: smpp://h:0, source: STATUS PAGE LONG}]", "smpp[0].url: must be a URL such as smpp://"},
		{"smtp tls", "smtp: [{name: a, url: \"smtp://h?tls=maybe\", from: a@b.example}]", "smtp[0].url: may end in ?tls=starttls (required"},
		{"smtps and none", "smtp: [{name: a, url: \"smtps://h?tls=none\", from: a@b.example}]", "smtp[0].url: must not be smtps:// together"},
		{"smtp user alone", "smtp: [{name: a, url: \"smtp://u@h\", from: a@b.example}]", "with user and password or neither"},
		{"dkim without key", "smtp: [{name: a, url: smtp://h, from: a@b.example, dkim: {selector: s}}]", "tocsin.yaml:1:59: smtp[0].dkim.key_file: must name the file"},
		{"dkim without selector", "smtp: [{name: a, url: smtp://h, from: a@b.example, dkim: {key_file: k}}]", "smtp[0].dkim.selector: must name the key in the DNS"},
		{"dkim domain", "smtp: [{name: a, url: smtp://h, from: a@b.example, dkim: {key_file: k, selector: s, domain: a b}}]", "smtp[0].dkim.domain: must be a domain"},
		{"mail domain", "mail: {domain: a b}", "tocsin.yaml:1:16: mail.domain: must be a name in the DNS"},
		{"mail timeout", "mail: {final_timeout: 2h}", "mail.final_timeout: must be a duration from 1ms to 90s"},
		{"sms timeout", "sms: {enquire_link: 0s}", "sms.enquire_link: must be a duration from 1s to 10m"},
		{"budget of an hour above the day's", "budgets: {webhook: {per_hour: 11, per_day: 10}}", "budgets.webhook.per_hour: must not be more than per_day, which is 10"},
		{"budget above the default day's", "budgets: {smpp: {per_hour: 100001}}", "budgets.smpp.per_hour: must not be more than per_day, which is 100000"},
		{"budget of an incident above all", "budgets: {smtp: {per_incident: 3/1h, per_target: 2/24h}}", "budgets.smtp.per_incident: must not be more than per_target has for all incidents, which is 2/24h"},
		{"budget of a target", "budgets: {smtp: {per_target: 2}}", "budgets.smtp.per_target: must be 1 to 1000 messages in a time"},
		{"budget of a relay", "smtp: [{name: a, url: smtp://h, from: a@b, budget: {per_hour: 11, per_day: 10}}]", "smtp[0].budget.per_hour: must not be more than per_day"},
		{"budget of an account above the channel's", "smpp: [{name: a, url: \"smpp://u:p@h\", source: A, budget: {per_day: 100001}}]",
			"smpp[0].budget.per_day: must not be more than the 100000 that budgets.smpp has for all together"},
		{"budget of an hour above the channel's day", "smpp: [{name: a, url: \"smpp://u:p@h\", source: A, budget: {per_hour: 100001}}]",
			"smpp[0].budget.per_hour: must not be more than the 100000 that budgets.smpp has"},
		{"budget of a host above the channel's", "budgets: {webhook: {per_hour: 5}}\nwebhook: {hosts: {a.example: {budget: {per_hour: 6}}}}",
			`webhook.hosts["a.example"].budget.per_hour: must not be more than the 5 that budgets.webhook has`},
		{"budget below nothing", "webhook: {hosts: {a.example: {budget: {per_day: -1}}}}", `webhook.hosts["a.example"].budget.per_day: must be a whole number from 0`},
		{"smpp exclusive", "smpp: [{name: a, url: \"smpp://u:p@h\", source: A, binds: 2, exclusive: true}]", "smpp[0].binds: must be 1 for an exclusive account"},
		{"smpp system_id", "smpp: [{name: a, url: \"smpp://0123456789abcdef:p@h\", source: A}]", "smpp[0].url: must have a system_id"},
		{"smpp without user", "smpp: [{name: a, url: \"smpp://h\", source: A}]", "smpp[0].url: must be a URL such as smpp://system_id"},
		{"rss entries", "rss: {entries: 0}", "rss.entries: must be a whole number from 1 to 1000"},
		{"rss authority", "rss: {authority: \"a b\"}", "rss.authority: must be a host name"},
		{"smpp country", "smpp: [{name: a, url: \"smpp://u:p@h\", source: A, country: \"+49\"}]", "smpp[0].country: must be a calling code"},
		{"smpp source", "smpp: [{name: a, url: smpp://h, source: STATUS PAGE LONG}]", "smpp[0].source: must be up to 11"},
		{"tls key", "tls: {cert: c}", "tls.key: must name the key"},
		{"tls cert", "tls: {key: k}", "tls.cert: must name the certificate"},
		{"tls clients", "tls: {client_ca: c}", "tls.client_ca: needs tls.cert and tls.key"},
		{"source name", "sources: [{name: A, routes: [alerts], networks: [10.0.0.0/8]}]", "sources[0].name: must be 1 to 32"},
		{"source name taken", "sources: [{name: tokens, routes: [alerts], networks: [10.0.0.0/8]}]", "sources[0].name: is used twice, or is one of tokens, several and other"},
		{"source twice", "sources: [{name: a, routes: [alerts], networks: [10.0.0.0/8]}, {name: a, routes: [alerts], networks: [10.0.0.0/8]}]", "sources[1].name: is used twice"},
		{"source routes", "sources: [{name: a, networks: [10.0.0.0/8]}]", "sources[0].routes: must name what it may send to: events, alerts, probes, pagerduty, statuspage, mapping"},
		{"source route", "sources: [{name: a, routes: [alerts, targets], networks: [10.0.0.0/8]}]", "tocsin.yaml:1:38: sources[0].routes[1]: must be one of events, alerts, probes, pagerduty, statuspage, mapping, once"},
		{"source route twice", "sources: [{name: a, routes: [alerts, alerts], networks: [10.0.0.0/8]}]", "sources[0].routes[1]: must be one of"},
		{"source asks nothing", "sources: [{name: a, routes: [alerts]}]", "sources[0]: must ask for something"},
		{"source token", "sources: [{name: a, routes: [alerts], bearer: [short]}]", "sources[0].bearer[0]: must be at least 16"},
		{"source network", "sources: [{name: a, routes: [alerts], networks: [10.0.0.1/8]}]", "sources[0].networks[0]: must be an address or a network in CIDR form"},
		{"source everyone", "sources: [{name: a, routes: [alerts], networks: [0.0.0.0/0]}]", "sources[0].networks[0]: must not be everyone"},
		{"source certificate", "tls: {cert: c, key: k, client_ca: a}\nsources: [{name: a, routes: [alerts], certificates: [am]}]", "sources[0].certificates[0]: must be dns:, uri:, email: or cn:"},
		{"source without authority", "tls: {cert: c, key: k}\nsources: [{name: a, routes: [alerts], certificates: [cn:am]}]", "sources[0].certificates: needs tls.client_ca"},
		{"source form", "sources: [{name: a, routes: [alerts], hmac: {form: slack, secrets: [0123456789abcdef]}}]", "sources[0].hmac.form: must be one of standard, github, grafana"},
		{"source without form", "sources: [{name: a, routes: [alerts], networks: [10.0.0.0/8], hmac: {secrets: [0123456789abcdef]}}]", "sources[0].hmac.form: must be one of"},
		{"source without secret", "sources: [{name: a, routes: [alerts], hmac: {form: github}}]", "sources[0].hmac.secrets: must have 1 to 5 entries"},
		{"source secret", "sources: [{name: a, routes: [alerts], hmac: {form: github, secrets: [short]}}]", "sources[0].hmac.secrets[0]: must be at least 16 characters"},
		{"source standard secret", "sources: [{name: a, routes: [alerts], hmac: {form: standard, secrets: [0123456789abcdef]}}]", "sources[0].hmac.secrets[0]: must be whsec_"},
		{"source key", "sources: [{name: a, routes: [pagerduty], keys: [hush]}]", "sources[0].keys[0]: must be at least 16"},
		{"source without key", "sources: [{name: a, routes: [pagerduty]}]", "sources[0]: must ask for something: bearer, keys"},
		{"source of two kinds", "sources: [{name: a, routes: [statuspage, mapping]}]", "sources[0].routes[1]: must be a source of its own"},
		{"source page", "sources: [{name: a, routes: [statuspage], page: a b}]", "sources[0].page: must be 1 to 64"},
		{"source mapping", "sources: [{name: a, routes: [alerts], networks: [10.0.0.0/8], mapping: {title: body.a}}]", "sources[0].mapping: must be left out"},
		{"source statuspage", "sources: [{name: a, routes: [alerts], networks: [10.0.0.0/8], statuspage: {component_updates: true}}]", "sources[0].statuspage: must be left out"},
		{"source without expression", "sources: [{name: a, routes: [mapping]}]", "sources[0].mapping.group: is missing"},
		{"source expression", "sources:\n- name: a\n  routes: [mapping]\n  mapping:\n    group: body.a\n    impact: '\"none\"'\n    firing: body.a == bdy.b",
			"tocsin.yaml:7:13: sources[0].mapping.firing: is not an expression of CEL: line 1, column 11: undeclared reference to 'bdy'"},
		{"source header", "sources: [{name: a, routes: [alerts], hmac: {form: grafana, secrets: [0123456789abcdef]}}]", "sources[0].hmac.timestamp_header: must be the header"},
		{"source header too much", "sources: [{name: a, routes: [alerts], hmac: {form: github, secrets: [0123456789abcdef], timestamp_header: X}}]", "sources[0].hmac.timestamp_header: must be left out"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(t, tc.yaml, noEnv)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Load says\n%v\nwant\n%s", err, tc.want)
			}
		})
	}
}

func TestAllProblemsAtOnceInOrder(t *testing.T) {
	_, err := load(t, "retry: {cap: never}\nadmision: 7\nqueue: amqp\n", envOf("TOCSIN_WEBHOOK_WINDOW", "0"),
		Setting{"--speed", "speed", "high"})
	want := []string{"TOCSIN_WEBHOOK_WINDOW: webhook.window: must be", "--speed: speed: is not a key",
		"tocsin.yaml:1:14: retry.cap: ", "tocsin.yaml:2:1: \"admision\": ", "tocsin.yaml:3:8: queue: "}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %q", lines)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
}

func TestNotAvailableIsSaid(t *testing.T) {
	for _, yaml := range []string{"store: postgres://db/x", "rates: redis://r"} {
		if _, err := load(t, yaml, noEnv); err == nil || !strings.Contains(err.Error(), "is not available in this version") {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	set := func(name, value string) (*Config, error) { return load(t, "", envOf(name, value)) }
	if c, err := set("TOCSIN_EGRESS_PORTS", "443,8443"); err != nil || !reflect.DeepEqual(c.Egress.Ports, []int{443, 8443}) {
		t.Errorf("ports: %+v, %v", c, err)
	}
	if c, err := set("TOCSIN_WEBHOOK_CONNECT_TIMEOUT", "7s"); err != nil || c.Webhook.ConnectTimeout != 7*time.Second {
		t.Errorf("connect timeout: %+v, %v", c, err)
	}
	if c, err := set("TOCSIN_WEBHOOK_RATE", "0.5/s"); err != nil || c.Webhook.Burst != 1 {
		t.Errorf("rate: %+v, %v", c, err)
	}
	if c, err := set("TOCSIN_DATA", "/x/${HOME}"); err != nil || c.Data != "/x/${HOME}" {
		t.Errorf("a value of the environment is taken as it is: %+v, %v", c, err)
	}
	if _, err := set("TOCSIN_EGRESS_PORTS", "443,nonsense"); err == nil ||
		!strings.HasPrefix(err.Error(), "TOCSIN_EGRESS_PORTS: egress.ports: each entry of the list") {
		t.Errorf("bad list: %v", err)
	}
}

func TestUnknownVariables(t *testing.T) {
	const file = "tokens: [\"${TOCSIN_API_TOKEN}\"]\ndata: /x/$${TOCSIN_LITERAL}\n"
	token := []string{"TOCSIN_API_TOKEN=hush-hush-hush-hush"}
	for entry, want := range map[string]string{
		"TOCSIN_LISTN=127.0.0.1:1":       "TOCSIN_LISTN: is not the variable of any key; did you mean TOCSIN_LISTEN?",
		"TOCSIN_RETRYBASE=hush":          "TOCSIN_RETRYBASE: is not the variable of any key; did you mean TOCSIN_RETRY_BASE?",
		"TOCSIN_Listen=127.0.0.1:1":      "TOCSIN_Listen: is not the variable of any key; did you mean TOCSIN_LISTEN?",
		"TOCSIN_WEBHOOK_TIME_OUT=hush":   "did you mean TOCSIN_WEBHOOK_TIMEOUT?",
		"TOCSIN_SMTP_PASSWORD=hush":      "TOCSIN_SMTP_PASSWORD: is not a setting: smtp can only be set in the file, where ${TOCSIN_SMTP_PASSWORD} may",
		"TOCSIN_SOURCES_KEY=hush":        "sources can only be set in the file",
		"TOCSIN_SMPP=hush":               "smpp can only be set in the file",
		"TOCSIN_WEBHOOK_HOSTS=hush":      "webhook.hosts can only be set in the file",
		"TOCSIN_SOMETHING_ELSE=hush":     "TOCSIN_SOMETHING_ELSE: is not the variable of any key, and the file does not use it",
		"TOCSIN_LISTEN_PORT=8080":        "TOCSIN_LISTEN_PORT: is not the variable of any key",
		"TOCSIN_=hush":                   "TOCSIN_: is not",
		"TOCSIN_TOKEN=hush":              "",
		"TOCSIN_EXCHANGE=x":              "",
		"TOCSIN_TEST_AMQP_URL=x":         "",
		"TOCSINS=x":                      "",
		"tocsin_listn=x":                 "",
		"TOCSIN_SERVICE_HOST=10.0.0.1":   "",
		"TOCSIN_SERVICE_PORT=8080":       "",
		"TOCSIN_SERVICE_PORT_HTTP=8080":  "",
		"TOCSIN_PORT=tcp://10.0.0.1:80":  "",
		"TOCSIN_PUBLIC_PORT=udp://10.1":  "",
		"TOCSIN_PORT_80_TCP=tcp://10.1":  "",
		"TOCSIN_PORT_80_TCP_ADDR=10.0.1": "",
	} {
		_, err := load(t, file, append(token, entry))
		if text := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(text, want) && want != "" || strings.Contains(text, "hush") {
			t.Errorf("%s: %v\nwant %s", entry, err, want)
		}
	}
	// A file that can't be read still names what it uses.
	if _, err := load(t, file+"[", token); err == nil || strings.Contains(err.Error(), "TOCSIN_") {
		t.Error(err)
	}
}

func TestListFromTheEnvironmentIsChecked(t *testing.T) {
	_, err := load(t, "", envOf("TOCSIN_EGRESS_DENY", "10.0.0.0/8,nonsense"))
	if err == nil || !strings.HasPrefix(err.Error(), "TOCSIN_EGRESS_DENY: egress.deny[1]: must be an address") {
		t.Error(err)
	}
}

func TestExpansion(t *testing.T) {
	env := environment{"A": "1", "B_2": "${A}"}
	for text, want := range map[string]string{"": "", "x": "x", "${A}": "1", "a${A}b${B_2}c": "a1b${A}c", "$${A}": "${A}",
		"$": "$", "$A": "$A", "}{": "}{"} {
		if got, err := expand(text, env); err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"${", "${}", "${A", "${1A}", "${A-b}", "${NOPE}"} {
		if got, err := expand(text, env); err == nil {
			t.Errorf("expand(%q) = %q", text, got)
		}
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	const yaml = `
tokens: [hush-hush-hush-hush-1, "hush-hush-hush-hush-2"]
queue: amqps://user:hush@broker/v?key=hush
store: postgres://user:hush@db/x?password=hush
rates: redis://:hush@r/0
smtp: [{name: a, url: "smtp://u:hush@h:587", from: a@b.example}]
smpp: [{name: a, url: "smpp://u:hush@h:2775", source: A}]
callback: {secrets: [hush]}
sources: [{name: a, bearer: [hush], keys: [hush], hmac: {form: x, secrets: [hush]}}]
webhook: {rate: hush, hosts: {a.example: {rate: 5000/h}}}
`
	_, err := load(t, yaml, noEnv)
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("the error is %v", err)
	}
	c, f := bare(), newFaults()
	(&decoder{faults: f}).document([]byte(yaml), c)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "config", c, "smtp", c.SMTP, "smpp", c.SMPP, "callback", c.Callback, "sources", c.Sources)
	for name, text := range map[string]string{"Redacted": c.Redacted(), "%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", *c),
		"%#v": fmt.Sprintf("%#v %#v", *c, c), "log": log.String(), "relays": fmt.Sprintf("%v %+v %#v", c.SMTP, c.SMPP[0], c.SMPP),
		"sources":  fmt.Sprintf("%v %+v %#v %v %#v", c.Sources, c.Sources[0], c.Sources, c.Sources[0].HMAC, c.Sources[0].HMAC),
		"callback": fmt.Sprintf("%v %+v %#v", c.Callback, c.Callback, c.Callback)} {
		if strings.Contains(text, "hush") {
			t.Errorf("%s shows a secret:\n%s", name, text)
		}
	}
	if text := c.Redacted(); !strings.Contains(text, "amqps://user:xxxxx@broker/v") || !strings.Contains(text, "5000/h") {
		t.Errorf("Redacted is\n%s", text)
	}
}

// Whether passwords and mails are encrypted is no secret.
func TestEncryptionOfRelaysIsPrinted(t *testing.T) {
	c := mustLoad(t, `
smtp:
  - {name: a, url: "smtp://u:hush@h:25?tls=none", from: a@b.example, dkim: {selector: s, key_file: /etc/key.pem}}
  - {name: b, url: "smtp://u:hush@h?tls=starttls", from: a@b.example}
`, noEnv)
	text := c.Redacted()
	for _, want := range []string{"smtp://u:xxxxx@h:25?tls=none\n", "smtp://u:xxxxx@h?tls=starttls\n", "key_file: /etc/key.pem\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "hush") {
		t.Error(text)
	}
	if !c.SMTP[0].DKIM.Signs() || c.SMTP[1].DKIM.Signs() {
		t.Error("only the first relay signs")
	}
	// What is no valid URL of a relay keeps nothing of its query.
	for _, url := range []string{"smtp://u:hush@h?tls=none&password=hush", "smtp://h?hush", "amqp://h?hush"} {
		if got := redactRelay(url); strings.Contains(got, "hush") {
			t.Errorf("%s becomes %s", url, got)
		}
	}
}

// TestRedactedIsComplete reads what was printed back: nothing but secrets is
// missing.
func TestRedactedIsComplete(t *testing.T) {
	c := mustLoad(t, `
tokens: [xxxxxxxxxxxxxxxxxxxxx]
egress: {allow: [10.0.0.0/8, "[fd00::/8]:8443"], source: [192.0.2.1]}
webhook: {rate: 5000/h, hosts: {"[2001:db8::1]:8443": {rate: 1/s}, a.example: {timeout: 30s}}}
mail: {templates: /etc/tocsin/mail, final_timeout: 90s}
smtp: [{name: a, url: "smtps://h", from: a@b.example, dkim: {selector: s, key_file: k, domain: b.example}}]
smpp: [{name: b, url: "smpp://u@h", source: "+14155550123", message_payload: true, country: "49"}]
retry: {base: 1500ms}
tls: {cert: c, key: k, client_ca: a}
sources: [{name: c, routes: [alerts, events], networks: [10.0.0.0/8, "::1"], certificates: ["dns:am.example.com"]}]
`, noEnv)
	printed := strings.Replace(c.Redacted(), "- xxxxx\n", "- xxxxxxxxxxxxxxxxxxxxx\n", 1)
	again := mustLoad(t, printed, noEnv)
	if !reflect.DeepEqual(c, again) {
		t.Errorf("printed\n%s\ngives\n%#v", printed, again)
	}
}

func TestFiles(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), noEnv); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := load(t, strings.Repeat("#", maxFileBytes+1), noEnv); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a large file: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile(sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	for _, seed := range []string{"", "a", "a: [", "tokens: [${A}]", "smtp: [{name: a}]", "webhook: {hosts: {x: {rate: 1/s}}}",
		"? a\n: b", "<<: *a", "a: &a [*a]", "egress: {allow: [\"[::1]:5\"]}", "data: |\n  x\n", "!!map {a: b}", "%YAML 1.2\n---\na: b",
		"rates: redis://:hush@h\nx: hush"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, yaml string) {
		c, err := parse([]byte(yaml), "f.yaml", environment{"A": "value"}, nil)
		if (c == nil) == (err == nil) {
			t.Fatal("neither or both of a configuration and an error")
		}
		if err != nil {
			return
		}
		again, err := parse([]byte(c.Redacted()), "again.yaml", nil, nil)
		if len(c.Tokens) > 0 || len(c.Sources) > 0 || len(c.Callback.Secrets) > 0 || c.Queue != Embedded || strings.Contains(c.Redacted(), "${") {
			return // what is redacted can't be loaded as it is
		}
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("printed and loaded again: %v\n%s", err, c.Redacted())
		}
	})
}

func TestSecrets(t *testing.T) {
	c, err := parse([]byte(`
tokens: [token-of-16-letters]
queue: amqp://user:p%40ss@broker/
smtp: [{name: a, url: "smtp://u:longer-p@relay", from: a@example.com}, {name: b, url: "smtp://relay", from: a@example.com}]
sources: [{name: e, routes: [events], bearer: [source-token-16-l], hmac: {form: github, secrets: [source-secret-16-l]}}]
smpp: [{name: c, url: "smpp://id:sms-pw@smsc", source: S}, {name: d, url: "smpp://id:@smsc", source: S}]
`), "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Secrets()
	for _, want := range []string{"token-of-16-letters", "p@ss", "p%40ss", "longer-p", "sms-pw", "source-token-16-l", "source-secret-16-l"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not one of %q", want, got)
		}
	}
	if slices.Contains(got, "") || slices.Contains(got, "user") {
		t.Errorf("%q would hide what is no secret", got)
	}
	if !slices.IsSortedFunc(got, func(a, b string) int { return len(b) - len(a) }) {
		t.Errorf("%q: a part would be hidden before the whole", got)
	}
}

func TestBudgets(t *testing.T) {
	c := mustLoad(t, `
webhook:
  hosts:
    hooks.example.com: {rate: 1/s, budget: {per_day: 7}}
    Hooks.example.com:8443: {budget: {per_hour: 8}}
smtp: [{name: a, url: smtp://h, from: a@b, budget: {per_hour: 5, per_day: 5}}, {name: b, url: smtp://h, from: a@b}]
`, noEnv)
	if c := mustLoad(t, "budgets: {smpp: {per_incident: 5/24h, per_target: 4/1h}}", noEnv); c.Budgets.SMPP.PerTarget != (Quota{4, time.Hour}) {
		t.Errorf("the budget of SMS is %+v", c.Budgets.SMPP)
	}
	for provider, want := range map[string]struct {
		entry string
		Bound
	}{
		"hooks.example.com:443": {"hooks.example.com", Bound{PerDay: 7}}, "Hooks.Example.com:9443": {"hooks.example.com", Bound{PerDay: 7}},
		"hooks.example.com:8443": {"hooks.example.com:8443", Bound{PerHour: 8}}, "other.example.com:443": {"other.example.com", Bound{}},
	} {
		if entry, b := c.Webhook.Budget(provider); entry != want.entry || b != want.Bound {
			t.Errorf("%s: %q %v, want %q %v", provider, entry, b, want.entry, want.Bound)
		}
	}
	if h := c.Webhook.For("hooks.example.com:443"); h.Rate != 1 || h.Window != 64 {
		t.Errorf("the limits beside a budget are %+v", h)
	}
	for channel, want := range map[string]map[string]Bound{
		"webhook": {`webhook.hosts["hooks.example.com"].budget`: {PerDay: 7}, `webhook.hosts["hooks.example.com:8443"].budget`: {PerHour: 8}},
		"smtp":    {"smtp[0].budget": {PerHour: 5, PerDay: 5}}, "smpp": {}, "rss": {},
	} {
		if got := c.ProviderBudgets(channel); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", channel, got, want)
		}
	}
}
