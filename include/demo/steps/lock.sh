#!/bin/sh
# Writes both lock files from requirements.txt: all with hashes, the second without the one package that compiles.
set -eu
cd "$(dirname "$0")/../../.."
uv=".venv/bin/uv"
"$uv" pip compile --system-certs --quiet --python-version 3.11 --generate-hashes --no-header requirements.txt \
    --output-file requirements.lock "$@"
"$uv" pip compile --system-certs --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-package mysqlclient \
    requirements.txt --output-file requirements-check.lock "$@"
