#!/bin/sh
# Lint, types and unit tests. Needs Python 3.11 and nothing of the lab: it runs where the lab cannot.
set -eu
cd "$(dirname "$0")/../../.."
venv="$(sh include/demo/steps/venv.sh check)"
"$venv/bin/ruff" check --quiet .
"$venv/bin/ruff" format --quiet --check .
MYPYPATH=.:plugins "$venv/bin/mypy" --no-error-summary
exec "$venv/bin/python" -m pytest -q tests/unit "$@"
