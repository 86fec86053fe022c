// Package layout holds the rules of who may import whom; it has no code.
package layout

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tocsin/tocsin/"

// rules say what of ours a package may import, tests left out: "x" is x alone,
// "x/..." is x and everything below. Dependencies point down only, adapters
// never know each other, and cmd alone sees everything.
var rules = map[string][]string{
	"incident":                           {},
	"ratelimit":                          {},
	"queue":                              {},
	"channels":                           {"incident"},
	"dispatcher":                         {"incident", "ratelimit", "queue", "channels"},
	"queue/queuetest":                    {"queue"},
	"queue/sqlite":                       {"queue", "internal/sqlitedb"},
	"queue/rabbitmq":                     {"queue"},
	"channels/channeltest":               {"channels", "incident"},
	"channels/rss":                       {"channels", "incident", "internal/feeds"},
	"channels/smpp":                      {"channels", "incident", "internal/egress"},
	"channels/smtp":                      {"channels", "incident", "internal/egress"},
	"channels/webhook":                   {"channels", "incident", "internal/egress"},
	"internal/senders":                   {"incident", "internal/lifecycle"},
	"internal/sqlitedb":                  {},
	"internal/store":                     {"dispatcher", "incident"},
	"internal/store/sqlite":              {"dispatcher", "incident", "channels", "queue", "internal/store", "internal/sqlitedb"},
	"internal/store/storetest":           {"dispatcher", "incident", "channels", "queue", "internal/store"},
	"internal/caller":                    {"ratelimit"},
	"internal/config":                    {"incident", "ratelimit", "internal/caller", "internal/egress", "internal/lifecycle", "internal/senders"},
	"internal/crash":                     {"bench/run", "dispatcher", "incident", "internal/peer", "internal/sqlitedb", "internal/store", "internal/store/sqlite"},
	"internal/cases":                     {"incident", "queue", "internal/lifecycle", "internal/store"},
	"internal/doctor":                    {"incident", "internal/config", "internal/egress", "internal/sqlitedb"},
	"internal/egress":                    {"incident"},
	"internal/feeds":                     {},
	"internal/lifecycle":                 {"incident"},
	"internal/telemetry":                 {"dispatcher", "channels", "queue", "incident"},
	"internal/gateway":                   {"incident", "queue", "dispatcher", "internal/caller", "internal/store", "internal/lifecycle", "internal/senders"},
	"internal/peer":                      {"incident"},
	"internal/public":                    {"incident", "ratelimit", "internal/feeds", "internal/store"},
	"internal/testenv":                   {},
	"internal/testenv/cmd/with-services": {"internal/testenv"},
	"internal/layout":                    {},
	"cmd/tocsin":                         {"..."},
	"bench":                              {"bench/...", "internal/peer", "internal/testenv"},
	"bench/chaos":                        {"internal/crash", "internal/testenv"},
	"bench/floor":                        {"bench/tool", "internal/peer"},
	"bench/report":                       {"bench/result", "bench/run", "bench/soak"},
	"bench/result":                       {"bench/run"},
	"bench/run":                          {},
	"bench/scenario":                     {"bench/floor", "bench/result", "bench/run", "bench/sink", "bench/tool", "incident", "internal/peer", "internal/testenv"},
	"bench/sink":                         {"internal/peer"},
	"bench/soak":                         {"bench/run", "incident", "internal/peer", "internal/testenv"},
	"bench/tool":                         {},
	"bench/tune":                         {"bench/result", "bench/run", "bench/scenario", "internal/egress"},
}

func TestImportsFollowTheRules(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		seen[pkg] = true
		allowed, known := rules[pkg]
		if !known {
			t.Errorf("%s has no rule: say in this test what it may import", pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(name, module); ok && !permitted(allowed, ours) {
				t.Errorf("%s imports %s, which the rules don't allow", rel, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range rules {
		if !seen[pkg] && pkg != "internal/layout" {
			t.Errorf("there is a rule for %s, which isn't there", pkg)
		}
	}
}

func permitted(allowed []string, name string) bool {
	return slices.ContainsFunc(allowed, func(rule string) bool {
		prefix, below := strings.CutSuffix(rule, "...")
		return rule == name || below && strings.HasPrefix(name, prefix)
	})
}

func TestTheRuleCanFail(t *testing.T) {
	if permitted(rules["incident"], "queue") || permitted(rules["queue/sqlite"], "queue/rabbitmq") || !permitted(rules["cmd/tocsin"], "queue/sqlite") {
		t.Fatal("the rules don't rule")
	}
}
