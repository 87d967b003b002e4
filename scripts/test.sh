#!/usr/bin/env bash
# Installs what is missing, then formatter, linter, type checker and tests.
#
#   bash scripts/test.sh                   # all of it, as CI does
#   bash scripts/test.sh -m "not slow"     # arguments go to pytest
#
# Tests marked `reference` skip themselves where PyTorch is not installed, and those of
# the foreign loader where node, npm or g++ is not.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh
if type node npm g++ >/dev/null 2>&1 &&
    bash tests/reference/tfjs/install.sh .venv/tfjs; then
    export BERT_TRAINER_TFJS=$PWD/.venv/tfjs
fi
.venv/bin/python -m black --check .
.venv/bin/python -m flake8
.venv/bin/python -m mypy
# Last, so that its closing line is the last line. Two at a time, each file's tests in
# one process. The first files, which are half of the time, have processes of their own:
# what XLA compiles for the steps is kept as long as the process lives.
alone=(tests/training/test_{steps,multi_worker,tpu_lowering}.py)
run_tests() {
    .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
        --durations=15 "$@"
}
if (($#)); then
    run_tests "$@"
    exit
fi
first=$(mktemp) && trap 'rm -f "$first"' EXIT
status=0
run_tests "${alone[@]}" | tee "$first" || status=$?
first_status=$status
run_tests "${alone[@]/#/--ignore=}" || status=$?
# The last line, which CI shows, must not be that of the others alone.
((first_status == 0)) || tail -n 1 "$first"
exit "$status"
