# Passes the output of go test through and ends it with a summary.
{ print; fflush() }
/^ok  / { passed++ }
/^FAIL\t/ { failed[++failures] = $2 }
/^[ \t]*--- FAIL: / { tests++ }
/no test files/ { untested++ }
END {
	printf "\n%d packages passed, %d failed, %d without tests; %d tests failed.\n", passed, failures, untested, tests
	for (i = 1; i <= failures; i++)
		printf "  failed: %s\n", failed[i]
}
