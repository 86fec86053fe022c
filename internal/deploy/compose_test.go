package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/doctor"
)

type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Environment     map[string]string `yaml:"environment"`
	Ports           []string          `yaml:"ports"`
	Volumes         []string          `yaml:"volumes"`
	StopGracePeriod string            `yaml:"stop_grace_period"`
	Ulimits         struct {
		Nofile struct{ Soft, Hard int } `yaml:"nofile"`
	} `yaml:"ulimits"`
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func TestCompose(t *testing.T) {
	var file composeFile
	readYAML(t, "compose/compose.yaml", &file)
	engine, ok := file.Services["tocsin"]
	broker, also := file.Services["rabbitmq"]
	if !ok || !also || len(file.Services) != 2 {
		t.Fatalf("the services are not tocsin and rabbitmq: %v", file.Services)
	}
	if engine.DependsOn["rabbitmq"].Condition != "service_healthy" || len(broker.Healthcheck.Test) == 0 {
		t.Error("the engine does not wait for a broker that is healthy")
	}
	if stop, err := time.ParseDuration(engine.StopGracePeriod); err != nil || stop <= drain {
		t.Errorf("the engine has %q to stop, want more than %v", engine.StopGracePeriod, drain)
	}
	if n := engine.Ulimits.Nofile; n.Soft < doctor.OpenFiles || n.Hard < n.Soft {
		t.Errorf("the engine has %d to %d files, want at least %d", n.Soft, n.Hard, doctor.OpenFiles)
	}
	if !engine.ReadOnly || !slices.Contains(engine.CapDrop, "ALL") || !slices.Contains(engine.SecurityOpt, "no-new-privileges:true") {
		t.Error("the engine has rights that it does not need")
	}
	for _, port := range slices.Concat(engine.Ports, broker.Ports) {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("port %s is open to other machines, in plain HTTP", port)
		}
	}
	checkMounts(t, file)
	checkSecrets(t, file)
}

// checkMounts looks for what is mounted: files of ours, or declared volumes.
func checkMounts(t *testing.T, file composeFile) {
	t.Helper()
	for name, service := range file.Services {
		for _, mount := range service.Volumes {
			source, _, _ := strings.Cut(mount, ":")
			if _, declared := file.Volumes[source]; declared {
				continue
			}
			if info, err := os.Stat(root + "/compose/" + source); err != nil || info.IsDir() {
				t.Errorf("%s mounts %s, which is neither a file nor a volume", name, source)
			}
		}
	}
	build := file.Services["tocsin"].Build
	for _, needed := range []string{build.Dockerfile, build.Dockerfile + ".dockerignore", "go.mod"} {
		if _, err := os.Stat(filepath.Join(root, "compose", build.Context, needed)); err != nil {
			t.Errorf("the build finds no %s: %v", needed, err)
		}
	}
}

// checkSecrets wants every variable in env.sample, and none with a default.
func checkSecrets(t *testing.T, file composeFile) {
	t.Helper()
	env := environment(t, "compose/env.sample")
	required := regexp.MustCompile(`^\$\{([A-Z_]+):\?[^}]+\}$`)
	seen := make(map[string]bool)
	for name, service := range file.Services {
		for key, value := range service.Environment {
			m := required.FindStringSubmatch(value)
			if m == nil {
				if strings.Contains(value, "$") {
					t.Errorf("%s: %s is %q, which starts without the secret", name, key, value)
				}
				continue
			}
			seen[m[1]] = true
			if env[m[1]] == "" {
				t.Errorf("%s wants %s, which is not in env.sample", name, m[1])
			}
		}
	}
	for key := range env {
		if !seen[key] {
			t.Errorf("env.sample has %s, which nobody wants", key)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "compose/Dockerfile")
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if version == nil || !strings.Contains(text, "FROM golang:"+string(version[1])+" ") {
		t.Errorf("it does not build with the Go of go.mod, %s", version)
	}
	if !strings.Contains(text, "CGO_ENABLED=0 go build") {
		t.Error("the binary is not static")
	}
	final := text[strings.LastIndex(text, "\nFROM "):]
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).MatchString(final) {
		t.Error("it runs as root, or as a user that is not known by number")
	}
	// The image starts as the unit does.
	start := regexp.MustCompile(`(?m)^(?:ENTRYPOINT|CMD) \[(.*)\]$`).FindAllStringSubmatch(final, -1)
	var words []string
	for _, m := range start {
		for word := range strings.SplitSeq(m[1], ", ") {
			words = append(words, strings.Trim(word, `"`))
		}
	}
	if got, want := strings.Join(words, " "), unit(t)["ExecStart"]; got != want {
		t.Errorf("it runs %q, the unit %q", got, want)
	}
}

// TestBuildSeesWhatIsEmbedded compares what the code embeds with what the build's
// context lets in.
func TestBuildSeesWhatIsEmbedded(t *testing.T) {
	allowed := read(t, "compose/Dockerfile.dockerignore")
	embed := regexp.MustCompile(`(?m)^//go:embed (.+)$`)
	found := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range embed.FindAllSubmatch(code, -1) {
			for pattern := range strings.FieldsSeq(string(m[1])) {
				found++
				if !strings.Contains(allowed, "\n!**/*"+filepath.Ext(pattern)+"\n") {
					t.Errorf("%s embeds %s, which Dockerfile.dockerignore keeps from the build", path, pattern)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("nothing is embedded: this test can't see")
	}
}
