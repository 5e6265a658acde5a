#!/bin/sh
# Lint, types and unit tests. Needs Python 3.11 and nothing of the lab: it runs where the lab cannot.
set -eu
cd "$(dirname "$0")/../../.."
venv="$(sh include/demo/steps/venv.sh check)"
"$venv/bin/ruff" check --quiet .
"$venv/bin/ruff" format --quiet --check .

# Types beside the tests: together they take the time of the longer one.
said="$(mktemp)"
MYPYPATH=.:plugins "$venv/bin/mypy" --no-error-summary >"$said" 2>&1 &
types=$!
trap 'kill "$types" 2>/dev/null || true; rm -f "$said"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
failed=0
"$venv/bin/python" -m pytest -q tests/unit "$@" || failed=$?
wait "$types" || failed=$?
cat "$said"
exit "$failed"
