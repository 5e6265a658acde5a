#!/bin/sh
# make demo: first what could forbid it, then what is missing, then the demo itself.
set -eu
cd "$(dirname "$0")/../../.."
if [ "${1:-}" != holding-session ]; then
    sh include/demo/steps/can_run.sh
    exec python3 -m include.demo.session "\`make demo\`" sh include/demo/steps/demo.sh holding-session
fi
# Descriptor 8 holds the session; what is installed must not keep it.
sh include/demo/steps/install.sh 8<&-
export PYTHONPATH=.:plugins
exec .venv/bin/python -m include.demo
