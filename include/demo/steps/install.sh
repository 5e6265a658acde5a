#!/bin/sh
# Installs what is missing: Debian packages first, then the virtual environment, then the lab's own packages.
set -eu
cd "$(dirname "$0")/../../.."
sh include/demo/steps/packages.sh
sh include/demo/steps/venv.sh full
./lab install "$@"
