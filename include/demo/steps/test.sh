#!/usr/bin/env bash
# make test: lint and types, then all tests in one run, then the lab down whatever happened; pytest's line comes last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

if [ "${1:-}" != holding-session ]; then
    sh include/demo/steps/can_run.sh
    exec python3 -m include.demo.session "\`make test\`" bash include/demo/steps/test.sh holding-session "$@"
fi
shift
# Descriptor 8 holds the session. pytest keeps it, should it outlive this script; nothing else does.
sh include/demo/steps/install.sh --tests 8<&-
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --quiet --check .
MYPYPATH=.:plugins .venv/bin/mypy --no-error-summary

log=build/test.log
. include/demo/steps/on_the_lab.sh
echo "The tests make the lab anew, and take it down at the end."
./lab build 8<&-
PYTHONPATH=.:plugins .venv/bin/python -m tests.keystone.environment 8<&-
PYTHONPATH=.:plugins .venv/bin/python -m pytest tests/unit tests/integration tests/e2e tests/drills \
    -m "not drill or handful" "$@" 2>&1 | tee "$log"
