#!/usr/bin/env bash
# make test: lint and types, then all tests in one run, then the lab down whatever happened; pytest's line comes last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

sh include/demo/steps/can_run.sh
sh include/demo/steps/install.sh --tests
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --quiet --check .
MYPYPATH=.:plugins .venv/bin/mypy --no-error-summary

log=build/test.log
finish() {
    status=$?
    trap - EXIT
    # A second Ctrl-C must not leave half a lab.
    trap '' INT TERM
    ./lab down || status=1
    [ ! -s "$log" ] || tail -n 1 "$log"
    exit "$status"
}
mkdir -p build
: >"$log"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
./lab build
PYTHONPATH=.:plugins .venv/bin/python -m pytest tests/unit tests/integration tests/e2e "$@" 2>&1 | tee "$log"
