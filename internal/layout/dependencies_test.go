package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesAreExplained holds docs/decisions/dependencies.md against what
// go.mod requires directly, in both directions. The document may leave out the
// beginning of a module's path.
func TestDependenciesAreExplained(t *testing.T) {
	read := func(names ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, names...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var required []string
	for _, match := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read("go.mod"), -1) {
		required = append(required, match[1]) // one that is indirect ends in a comment
	}
	var explained []string
	for _, match := range regexp.MustCompile(`(?m)^\| (?:\*tests:\* )?(\S+/[^|]*) \|`).FindAllStringSubmatch(read("docs", "decisions", "dependencies.md"), -1) {
		explained = append(explained, strings.Split(match[1], ", ")...)
	}
	if len(required) < 10 || len(explained) < 10 {
		t.Fatalf("%d modules in go.mod and %d in the document were understood", len(required), len(explained))
	}
	for _, module := range required {
		if !slices.ContainsFunc(explained, func(name string) bool { return strings.HasSuffix("/"+module, "/"+name) }) {
			t.Errorf("docs/decisions/dependencies.md doesn't say what %s is for", module)
		}
	}
	for _, name := range explained {
		if !slices.ContainsFunc(required, func(module string) bool { return strings.HasSuffix("/"+module, "/"+name) }) {
			t.Errorf("docs/decisions/dependencies.md explains %s, which go.mod doesn't require directly", name)
		}
	}
}
