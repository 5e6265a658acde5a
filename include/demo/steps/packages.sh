#!/bin/sh
# Debian packages the virtual environment needs: Python itself, and what compiles the MySQL client that Airflow's
# provider uses. None of them starts a service. Nothing is asked of apt when all are there.
set -eu

wanted="python3.11 python3.11-venv python3.11-dev gcc pkg-config default-libmysqlclient-dev"
missing=""
for package in $wanted; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # both are lists of words
$as_root apt-get -qq update
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing
