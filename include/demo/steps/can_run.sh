#!/bin/sh
# Can this machine carry the lab, and are the demo's settings usable? Needs any python3; changes nothing. Exit 3: no.
set -eu
cd "$(dirname "$0")/../../.."
if ! command -v python3 >/dev/null; then
    echo "The demo cannot run here; nothing was changed. Missing: python3." >&2
    echo "  What would help: on Debian 12, apt-get install python3. Elsewhere, a Debian 12 virtual machine." >&2
    exit 3
fi
exec python3 -m include.demo.can_run
