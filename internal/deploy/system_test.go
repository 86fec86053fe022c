package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/doctor"
)

// drain is how long the engine waits at SIGTERM for what is under way.
const drain = 20 * time.Second

// unit reads the settings of [Service]; those that are given twice are joined.
func unit(t *testing.T) map[string]string {
	t.Helper()
	service := make(map[string]string)
	section := ""
	for line := range strings.Lines(read(t, "systemd/tocsin.service")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && section == "[Service]" && !strings.HasPrefix(line, "#") {
			service[key] = strings.TrimSpace(service[key] + " " + value)
		}
	}
	return service
}

func TestUnit(t *testing.T) {
	service := unit(t)
	for key, want := range map[string]string{
		"ExecStart":       "/usr/local/bin/tocsin serve --config /etc/tocsin/tocsin.yaml --data /var/lib/tocsin",
		"EnvironmentFile": "-/etc/tocsin/secrets.env",
		"KillSignal":      "SIGTERM",
		"Restart":         "on-failure",
		"StateDirectory":  "tocsin",
		"NoNewPrivileges": "yes",
		"ProtectSystem":   "strict",
		"ProtectHome":     "yes",
		"User":            "tocsin",
	} {
		if service[key] != want {
			t.Errorf("%s is %q, want %q", key, service[key], want)
		}
	}
	if capabilities, ok := service["CapabilityBoundingSet"]; !ok || capabilities != "" {
		t.Errorf("the engine has the capabilities %q, and needs none", capabilities)
	}
	if families := strings.Fields(service["RestrictAddressFamilies"]); !slices.Contains(families, "AF_NETLINK") {
		t.Error("without AF_NETLINK the engine can't list the addresses of this machine, which nobody may be told at")
	}
	if files, err := strconv.Atoi(service["LimitNOFILE"]); err != nil || files != doctor.OpenFiles {
		t.Errorf("LimitNOFILE is %q, want %d", service["LimitNOFILE"], doctor.OpenFiles)
	}
	if stop, err := time.ParseDuration(service["TimeoutStopSec"]); err != nil || stop <= drain {
		t.Errorf("TimeoutStopSec is %q, want more than %v", service["TimeoutStopSec"], drain)
	}
}

// TestUnitIsReadBySystemd lets systemd read the unit, with a program in it that
// exists on this machine too.
func TestUnitIsReadBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not installed, so nobody has read deploy/systemd/tocsin.service")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tocsin.service")
	verify := func(text string) string {
		text = strings.ReplaceAll(text, "/usr/local/bin/tocsin", self)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Unknown settings are only warned of.
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
		var complaints []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "tocsin.service") {
				complaints = append(complaints, line)
			}
		}
		if err != nil {
			complaints = append(complaints, err.Error())
		}
		return strings.Join(complaints, "")
	}
	text := read(t, "systemd/tocsin.service")
	if said := verify(text); said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
	if with := strings.Replace(text, "\n#LoadCredential=", "\nLoadCredential=", 1); with == text || verify(with) != "" {
		t.Errorf("with a key for DKIM systemd-analyze verify says:\n%s", verify(with))
	}
	if verify(strings.ReplaceAll(text, "NoNewPrivileges", "NoNewPrivilege")) == "" {
		t.Error("systemd-analyze finds no fault in a setting that does not exist: this test can't fail")
	}
}

// TestSysctl holds the file to what the doctor wants, in its order.
func TestSysctl(t *testing.T) {
	var want []string
	for _, s := range doctor.Settings() {
		line := s.Name + " = " + s.Value
		if s.Optional {
			line = "-" + line
		}
		want = append(want, line)
		if _, err := os.Stat("/proc/sys/net/ipv4"); err != nil || s.Optional {
			continue // no Linux, or the setting may be missing
		}
		if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(s.Name, ".", "/")); err != nil {
			t.Errorf("%s is not known to this kernel: %v", s.Name, err)
		}
	}
	if got := settings(t, "sysctl.d/60-tocsin.conf"); !slices.Equal(got, want) {
		t.Errorf("the settings are\n%q, the doctor wants\n%q", got, want)
	}
}

// TestTuningPage holds the table of docs/tuning.md to what the doctor wants.
func TestTuningPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/tuning.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| `([0-9 ]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1]+" = "+row[2])
	}
	for _, s := range doctor.Settings() {
		want = append(want, s.Name+" = "+s.Value)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%q, the doctor wants\n%q", got, want)
	}
	if files := fmt.Sprintf("| hard limit of open files | `%d` |", doctor.OpenFiles); !strings.Contains(string(page), files) {
		t.Errorf("the page does not have %s", files)
	}
}

func TestLimits(t *testing.T) {
	lines := settings(t, "limits.d/tocsin.conf")
	if want := fmt.Sprintf("tocsin hard nofile %d", doctor.OpenFiles); !slices.Equal(lines, []string{want}) {
		t.Errorf("the limits are %q, want %q", lines, want)
	}
}
