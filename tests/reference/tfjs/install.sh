#!/usr/bin/env bash
# Installs a program that loads SavedModels and that nobody here wrote: TensorFlow.js.
#
#   bash tests/reference/tfjs/install.sh FOLDER [PYTHON]
#   BERT_TRAINER_TFJS=FOLDER .venv/bin/python -m pytest tests/serving/test_foreign_loader.py
#
# Needs node with its headers, npm and g++. The package brings JavaScript and the source
# of its binding. That is compiled against the C library in PYTHON's TensorFlow, for the
# one that the package would fetch is years older than what wrote the model.
set -Eeuo pipefail
trap 'echo "install: stopped, this failed (exit $?): $BASH_COMMAND" >&2' ERR
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?give a folder to install into}
python=${2:-$here/../../../.venv/bin/python}
package=@tensorflow/tfjs-node
version=4.22.0

tensorflow=$("$python" -c '
import importlib.util
print(*importlib.util.find_spec("tensorflow").submodule_search_locations)')
release=$("$python" -c '
import importlib.metadata
print(importlib.metadata.version("tensorflow"))')
headers=$(node -p 'require("path").resolve(process.execPath, "../../include/node")')
[[ -f $headers/node_api.h ]] || {
    echo "install: node must have its headers. Received: no $headers/node_api.h" >&2
    exit 1
}
stamp=$folder/installed_from.txt
wanted=$(echo "$version $tensorflow $release" && node --version && cat "$here"/*.cc)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "install: $folder is up to date"
    exit 0
fi

mkdir -p -- "$folder"
# Without scripts: the package's own would fetch a C library.
npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save \
    "$package@$version"

# compile SOURCE... -o TARGET
compile() {
    g++ -std=c++17 -O1 -fPIC -shared -DNAPI_VERSION=8 -I"$headers" \
        -I"$tensorflow/include" "$@" \
        "$tensorflow"/libtensorflow_{cc,framework}.so.2 -Wl,-rpath,"$tensorflow"
}

installed=$folder/node_modules/$package
# Where the package looks for it.
mkdir -p -- "$installed/lib/napi-v8"
compile "$installed"/binding/*.cc -o "$installed/lib/napi-v8/tfjs_binding.node"
compile "$here/load_library.cc" -o "$folder/load_library.node"
echo "$wanted" >"$stamp"
