#!/usr/bin/env bash
# make drills: a million rows from Newton to Ocata, then every fault of the table strikes a rollout on the lab, then the
# lab down whatever happened; the table and pytest's line come last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

if [ "${1:-}" != holding-session ]; then
    sh include/demo/steps/can_run.sh
    exec python3 -m include.demo.session "\`make drills\`" bash include/demo/steps/drills.sh holding-session "$@"
fi
shift
# Descriptor 8 holds the session. pytest keeps it, should it outlive this script; nothing else does.
sh include/demo/steps/install.sh --tests 8<&-

log=build/drills.log
. include/demo/steps/on_the_lab.sh
echo "The drills make the lab anew for each row, and take it down at the end. The table is written to build/drills.md."
./lab build 8<&-
PYTHONPATH=.:plugins .venv/bin/python -m pytest -v -m drill \
    tests/integration/test_newton_to_ocata.py tests/drills "$@" 2>&1 | tee "$log"
