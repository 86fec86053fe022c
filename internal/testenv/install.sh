#!/bin/sh
# Installs what Tocsin's tests need on Debian and Ubuntu, quietly, and does
# nothing when it is all there. Services of the machine stay as they are: what
# is installed here is neither started nor enabled at boot.
#
# Exit codes: 0 all is there; 1 apt failed (its output is shown); 3 it can't be
# installed from here, and the message says what to install by hand.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=
need() { # need "DEBIAN PACKAGES" COMMAND…: they are missing if the command fails
	packages=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $packages"
}
has() { command -v "$1"; }
can_compile() { echo '#include <stdlib.h>' | ${CC:-gcc} -E -; }

# The list.
need "gcc libc6-dev" can_compile          # go test -race
need "rabbitmq-server" has rabbitmq-server # the broker of the tests and of make demo QUEUE=rabbitmq
need "amqp-tools" has amqp-publish         # a producer that is not ours
need "nodejs" has node                    # with npm: an SMS centre that is not ours
need "npm" has npm
need "libxml2-utils" has xmllint           # parses the feeds
need "python3-feedparser" /usr/bin/python3 -c "import feedparser" # reads them
need "notmuch" has notmuch                # a mail reader that is not ours: shows the threads
need "prometheus" has promtool            # reads the scrape configuration, tries the alert rules
need "prometheus-alertmanager" has amtool # reads the Alertmanager configuration; a real one sends alerts
need "prometheus-blackbox-exporter" has prometheus-blackbox-exporter # probes for Prometheus and Alertmanager
need "wrk" has wrk                        # the bench: reads feeds as fast as they come
need "nginx-light" has nginx              # the bench: what feeds are compared with
# A browser opens the live page. Ubuntu packages it as a snap alone, which can't use
# the folders of a test: there this one test is skipped.
has_browser() { has chromium || has google-chrome; }
if grep -qsx 'ID=ubuntu' /etc/os-release; then
	has_browser >/dev/null || echo "SKIPPED: there is no chromium here, so no browser will read the live page." >&2
else
	need "chromium" has_browser
fi
# Postfix for its smtp-sink and smtp-source, which need no configuration. Where another
# mail server is installed it stays, and the tests that want these two are skipped.
[ -e /usr/sbin/sendmail ] || need "postfix" has smtp-sink

[ -n "$missing" ] || exit 0

by_hand() {
	cat >&2 <<-EOF
		Tocsin's tests need software that is missing here:
		   $missing
		$1
		These are Debian's package names. Elsewhere: a C compiler with its headers (for
		go test -race), RabbitMQ 3.10 or later, rabbitmq-c's command line tools, Node.js
		with npm, notmuch, Chromium, Postfix, nginx, wrk, xmllint, promtool and amtool of
		Prometheus, and feedparser for /usr/bin/python3. No service need run: the tests start
		what they need.
	EOF
	exit 3
}
command -v apt-get >/dev/null || by_hand "There is no apt-get on this system: please install them by its own means."
if [ "$(id -u)" != 0 ]; then
	sudo -n true 2>/dev/null || by_hand "Installing needs root, and sudo is missing or asks for a password. Please run as root:
    apt-get install --no-install-recommends$missing"
	exec sudo -n CC="${CC:-gcc}" sh "$0"
fi

echo "Installing$missing …"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
policy_is_ours=
cleanup() {
	rm -f "$log"
	[ -z "$policy_is_ours" ] || rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Debian asks this file before it starts a service. A policy that is there
# already is the administrator's and stays.
if ! [ -e "$policy" ]; then
	policy_is_ours=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
enabled_units() { find /etc/systemd/system -mindepth 2 -type l 2>/dev/null | sed 's,.*/,,' | sort -u; }
before=$(enabled_units)

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
case " $missing " in
*" postfix "*)
	# Without a configuration Postfix can't run, started by whomever.
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
	;;
esac
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" >>"$log" 2>&1 </dev/null; }
apt update || echo "apt-get update failed; trying with the package lists at hand." >&2
# shellcheck disable=SC2086  # a list of words
if ! apt install --yes --no-install-recommends --no-remove $missing; then
	cat "$log" >&2
	echo "apt-get could not install$missing: its output is above." >&2
	exit 1
fi

# What came with these packages must neither run nor start at boot.
if command -v systemctl >/dev/null; then
	for unit in $(enabled_units); do
		echo "$before" | grep -qxF "$unit" && continue
		systemctl disable --quiet "$unit" >/dev/null 2>&1 || echo "Could not disable $unit: it will start at boot." >&2
		if [ -d /run/systemd/system ]; then
			systemctl stop "$unit" >/dev/null 2>&1 || echo "Could not stop $unit." >&2
		fi
	done
fi
