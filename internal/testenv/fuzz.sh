#!/bin/sh
# Runs every Fuzz target of the tree, one after the other, for the given time
# each (default 10s). An input that fails is written to the package's testdata
# folder, to be committed with the fix.
set -eu
time=${1:-10s}
grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . |
	sed -E 's,^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*,\1 \2,' | sort -u |
	while read -r folder target; do
		echo "$folder $target"
		# A child must not read the list, hence </dev/null.
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=100x "$folder" </dev/null
	done
