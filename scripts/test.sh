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
# Last, so that its closing line is the last line.
exec .venv/bin/python -m pytest --durations=15 "$@"
