package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by --help.
func (*completionCommand) Help() string {
	return `For the running shell, or in the shell's startup file for all:

    source <(tocsin completion bash)      # bash, in ~/.bashrc
    source <(tocsin completion zsh)       # zsh, in ~/.zshrc, after compinit
    tocsin completion fish | source       # fish, in ~/.config/fish/config.fish

The script asks the tocsin it completes, so it knows every version's commands.`
}

// The scripts hand over the words up to the cursor and offer what comes back, or
// files if nothing does. Bash takes = for a word of its own.
const (
	bashCompletion = `_tocsin() {
	local IFS=$'\n'
	COMPREPLY=($("$1" complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
}
complete -o default -F _tocsin tocsin
`
	zshCompletion = `#compdef tocsin
_tocsin() {
	local -a found
	found=("${(@f)$("${words[1]}" complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		compadd -- "${found[@]}"
	else
		_files
	fi
}
compdef _tocsin tocsin
`
	fishCompletion = `function __tocsin_complete
	tocsin complete -- (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c tocsin -f -a '(__tocsin_complete)'
complete -c tocsin -n 'not count (__tocsin_complete) >/dev/null' -F
`
)

// Run prints the script.
func (c *completionCommand) Run(p *program) error {
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := fmt.Fprint(p.stdout, script)
	return err
}

type completeCommand struct {
	Words []string `arg:"" optional:"" help:"The command line up to the cursor, the last word possibly empty."`
}

// Run prints how the last word may go on, one possibility a line.
func (c *completeCommand) Run(k *kong.Context, p *program) error {
	if len(c.Words) < 2 {
		return nil
	}
	for _, word := range completions(k.Model.Node, c.Words[1:]) {
		if _, err := fmt.Fprintln(p.stdout, word); err != nil {
			return err
		}
	}
	return nil
}

// completions says what the last of the words may become, in the order of the
// help; nothing means that it may be anything, such as a file's name.
func completions(node *kong.Node, words []string) []string {
	var value *kong.Flag // waits for its value
	last := len(words) - 1
	for _, word := range words[:last] {
		switch {
		case word == "=": // as bash splits --flag=value
		case value != nil:
			value = nil
		case strings.HasPrefix(word, "-"):
			if !strings.Contains(word, "=") {
				value = valueFlag(node, word)
			}
		default:
			if child := childOf(node, word); child != nil {
				node = child
			}
		}
	}
	current, prefix := words[last], ""
	if current == "=" {
		current = ""
	}
	if name, rest, ok := strings.Cut(current, "="); ok && value == nil {
		if value = valueFlag(node, name); value != nil { // as zsh and fish leave it
			prefix, current = name+"=", rest
		}
	}
	var found []string
	for _, candidate := range candidates(node, value, current) {
		if candidate != "" && strings.HasPrefix(candidate, current) {
			found = append(found, prefix+candidate)
		}
	}
	return found
}

func candidates(node *kong.Node, value *kong.Flag, current string) (list []string) {
	switch {
	case value != nil:
		return value.EnumSlice()
	case strings.HasPrefix(current, "-"):
		for _, group := range node.AllFlags(true) {
			for _, flag := range group {
				list = append(list, "--"+flag.Name)
			}
		}
		slices.Sort(list)
		return list
	}
	for _, child := range node.Children {
		if !child.Hidden {
			list = append(list, child.Name)
		}
	}
	for _, argument := range node.Positional {
		list = append(list, argument.EnumSlice()...)
	}
	return list
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// valueFlag returns the flag that a word names if it takes a value.
func valueFlag(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, flag := range group {
			if (word == "--"+flag.Name || flag.Short != 0 && word == "-"+string(flag.Short)) && !flag.IsBool() {
				return flag
			}
		}
	}
	return nil
}
