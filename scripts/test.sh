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
# one process, and the training steps' in processes of their own: what XLA compiles is
# kept as long as the process lives, and together they took more than 5 GB.
run_tests() {
    .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
        --durations=15 "$@"
}
if (($#)); then
    run_tests "$@"
    exit
fi
status=0
run_tests tests/training || status=$?
run_tests --ignore=tests/training || status=$?
exit "$status"
