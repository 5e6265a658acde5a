#!/bin/sh
# Debian packages the virtual environment needs: Python itself, and what compiles the MySQL client that Airflow's
# provider uses. None of them starts a service. Nothing is asked of apt when all are there. What apt says goes to
# build/packages.log, and to standard error when it fails.
set -eu
cd "$(dirname "$0")/../../.."

wanted="python3.11 python3.11-venv python3.11-dev gcc pkg-config default-libmysqlclient-dev"
missing=""
for package in $wanted; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "This system has no apt-get, and these packages of Debian 12 are missing:$missing. Nothing was changed." >&2
    echo "Next: run it on Debian 12 (a virtual machine will do); \`make check\` runs here too." >&2
    exit 3
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
log=build/packages.log
mkdir -p build
: >"$log"

logged() { # COMMAND...
    "$@" >>"$log" 2>&1 && return
    status=$?
    cat "$log" >&2
    echo "The Debian packages could not be installed: apt-get ended with status $status." >&2
    echo "What it said is above, and in $log. Next: check the network and apt's sources, then run it again." >&2
    exit "$status"
}

echo "Installing Debian packages:$missing (log: $log)"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # both are lists of words
logged $as_root apt-get -q update
# Of what is installed, apt raises only what must have the version of a package that comes, as a library and its
# headers; without the option also whatever else was built from the same source.
# shellcheck disable=SC2086
logged $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o APT::Get::Upgrade-By-Source-Package=false \
    install -y --no-install-recommends $missing
