package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"
)

// Result is what a finding comes to.
type Result string

// The results, from best to worst but for Skipped, which is none.
const (
	OK      Result = "ok"
	Skipped Result = "skipped"
	Warning Result = "warning"
	Failure Result = "failure"
)

// Finding is what there is to say about one thing. All texts are for people.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	// Found is as it is, Wanted as it should be. Found of what was skipped is why.
	Found  string `json:"found"`
	Wanted string `json:"wanted,omitempty"`
	// Effect says what the difference does, Fix how to end it. Both are empty where
	// there is none.
	Effect string `json:"effect,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// ok is the finding that f is in order as it was found.
func (f Finding) ok(found string) Finding {
	f.Result, f.Found, f.Effect, f.Fix = OK, found, "", ""
	return f
}

func (f Finding) skip(why string) Finding {
	f.Result, f.Found, f.Effect, f.Fix = Skipped, why, "", ""
	return f
}

func (f Finding) warn(found string) Finding {
	f.Result, f.Found = Warning, found
	return f
}

func (f Finding) fail(found string) Finding {
	f.Result, f.Found = Failure, found
	return f
}

// unread skips what could not be read.
func (f Finding) unread(err error) Finding {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return f.skip("no permission to look; run this as the engine's user, or as root")
	case errors.Is(err, fs.ErrNotExist):
		return f.skip("this system doesn't say")
	case errors.Is(err, errNotLinux):
		return f.skip(errNotLinux.Error())
	}
	return f.skip("could not be looked at: " + err.Error())
}

// Check looks at something.
type Check struct {
	Name string
	// Look returns one finding or several, soon after ctx ends at the latest.
	Look func(ctx context.Context) []Finding
}

// grace is how long a check may take to return after its time has ended.
const grace = time.Second

// Run runs all checks at once, each for at most the timeout, and returns their
// findings in the order of the checks. It waits for the checks but for those that
// hang in the system, as on a network disk that is away: these end with the process.
func Run(ctx context.Context, checks []Check, timeout time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := make([]chan []Finding, len(checks))
	for i, c := range checks {
		answers[i] = make(chan []Finding, 1)
		go func() { answers[i] <- c.Look(ctx) }()
	}
	late := make(chan struct{})
	timer := time.AfterFunc(timeout+grace, func() { close(late) })
	defer timer.Stop()
	var all []Finding
	for i, answer := range answers {
		select {
		case findings := <-answer:
			all = append(all, findings...)
		case <-late:
			select {
			case findings := <-answer:
				all = append(all, findings...)
			default:
				all = append(all, Finding{Check: checks[i].Name, Wanted: "an answer", Effect: "what doesn't answer here holds up the engine, too",
					Fix: "see what hangs; --timeout gives it more time"}.fail(fmt.Sprintf("no answer in %v", timeout)))
			}
		}
	}
	return all
}

// maxText is how much is printed of a text that others have a part in, in runes.
const maxText = 400

// clean makes findings fit to print: without the control characters, the endless
// answers and the secrets that a peer's words, which are in Found alone, may hold.
func clean(findings []Finding, secrets []string) []Finding {
	for i := range findings {
		f := &findings[i]
		for _, secret := range secrets {
			f.Found = strings.ReplaceAll(f.Found, secret, "xxxxx")
		}
		for _, text := range []*string{&f.Check, &f.Found, &f.Wanted, &f.Effect, &f.Fix} {
			*text = cleanText(*text)
		}
	}
	return findings
}

func cleanText(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText-1]) + "…"
	}
	return text
}
