#!/bin/sh
# make demo: first what could forbid it, then what is missing, then the demo itself.
set -eu
cd "$(dirname "$0")/../../.."
sh include/demo/steps/can_run.sh
sh include/demo/steps/install.sh
export PYTHONPATH=.:plugins
exec .venv/bin/python -m include.demo
