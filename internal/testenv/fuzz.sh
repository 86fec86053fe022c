#!/bin/sh
# Runs every Fuzz target of the tree, one after the other, for the given time
# each (default 10s). An input that fails is written to the package's testdata
# folder, to be committed with the fix.
set -eu
time=${1:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# only_ended: before version 1.27 Go may call it a failure that the time is over
# (https://go.dev/issue/75804): nothing is said then but that, and no input written.
only_ended() {
	grep -A1 '^--- FAIL: ' "$log" | tail -n +2 | grep -qx '    context deadline exceeded' &&
		! grep -q 'Failing input\|_test\.go:\|panic' "$log"
}

grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . |
	sed -E 's,^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*,\1 \2,' | sort -u |
	while read -r folder target; do
		echo "$folder $target"
		# A child must not read the list, hence </dev/null.
		{ go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=100x "$folder" </dev/null 2>&1 && echo "$target held"; } | tee "$log"
		if ! grep -qx "$target held" "$log"; then
			only_ended || exit 1
			echo "$target held: Go took the end of its time for a failure"
		fi
	done
