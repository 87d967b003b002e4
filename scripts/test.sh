#!/usr/bin/env bash
# Installs what is missing, then formatter, linter, type checker and tests.
#
#   bash scripts/test.sh                   # all of it, as CI does
#   bash scripts/test.sh -m "not slow"     # arguments go to pytest
#
# Tests marked `reference` skip themselves where PyTorch is not installed.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh
.venv/bin/python -m black --check .
.venv/bin/python -m flake8
.venv/bin/python -m mypy
# Last, so that its closing line is the last line. Two at a time, each file's tests in
# one process: more would need more than 16 GB.
exec .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile \
    --no-loadscope-reorder --durations=15 "$@"
