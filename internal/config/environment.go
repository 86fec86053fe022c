package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// envPrefix begins the names of all our variables.
const envPrefix = "TOCSIN_"

// EnvName returns the environment variable of a key: TOCSIN_RETRY_BASE for
// retry.base.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// environment has the variables by name.
type environment map[string]string

// newEnvironment reads what [os.Environ] returns. Of two with a name the last one
// wins, as in os/exec.
func newEnvironment(environ []string) environment {
	env := make(environment, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// otherVariables are ours and no settings: the token of the commands that talk to
// an engine, and what the demo tells its publisher besides the queue.
var otherVariables = []string{"TOCSIN_TOKEN", "TOCSIN_EXCHANGE"}

// testPrefix begins the names of what tells tests of the services beside them.
const testPrefix = "TOCSIN_TEST_"

var (
	// serviceLink is what Kubernetes tells every container of a namespace that
	// has a service whose name begins with tocsin; so does Docker's --link.
	serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	servicePort = regexp.MustCompile(`^(tcp|udp|sctp)://`)
	reference   = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) || strings.HasSuffix(name, "_PORT") && servicePort.MatchString(value)
}

// checkNames reports the variables that look like settings and are none: nothing
// that was asked for is ignored. The file may name any for its values; keys are
// those that a variable can set.
func (env environment) checkNames(f *faults, file []byte, keys map[string]bool) {
	mine := make(map[string]bool)
	var names []string // without the prefix, which would make all of them alike
	for key := range keys {
		mine[EnvName(key)] = true
		names = append(names, strings.ReplaceAll(key, ".", "_"))
	}
	slices.Sort(names)
	for _, m := range reference.FindAllSubmatch(file, -1) {
		mine[string(m[1])] = true
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, envPrefix) || mine[name] || slices.Contains(otherVariables, name) ||
			strings.HasPrefix(name, testPrefix) || isServiceLink(name, env[name]) {
			continue
		}
		f.problems = append(f.problems, &Problem{Source: name, Reason: unknownVariable(name, names)})
	}
}

// unknownVariable says what is wrong with the name of a variable; names are keys
// with "_" for the dots.
func unknownVariable(name string, names []string) string {
	for _, list := range []string{"smtp", "smpp", "sources", "webhook.hosts", "alerts.impact", "alerts.public_details", "lifecycle.promote"} {
		if strings.HasPrefix(name, EnvName(list)) {
			return fmt.Sprintf("is not a setting: %s can only be set in the file, where ${%s} may stand in its values", list, name)
		}
	}
	if suggestion := closest(strings.TrimPrefix(name, envPrefix), names); suggestion != "" {
		return fmt.Sprintf("is not the variable of any key; did you mean %s?", EnvName(suggestion))
	}
	return "is not the variable of any key, and the file does not use it; tocsin config print shows the keys, and webhook.rate is " +
		EnvName("webhook.rate")
}
