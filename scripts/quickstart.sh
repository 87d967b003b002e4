#!/usr/bin/env bash
# From nothing to a served classifier, on a laptop: installs, fine-tunes, reports,
# exports, predicts; ends with the run's closing table.
#
#   bash scripts/quickstart.sh                        # writes to runs/quickstart
#   MODEL_DIR=runs/longer bash scripts/quickstart.sh --num_train_epochs=2
#
# Arguments go to trainer.main after the flagfile, and so win over it.
set -Eeuo pipefail
trap 'echo "quickstart: stopped, this failed (exit $?): $BASH_COMMAND" >&2' ERR
model_dir=${MODEL_DIR:-runs/quickstart}
# Given by the caller, it is meant from where the caller stands.
[[ -z ${MODEL_DIR:-} || $MODEL_DIR == /* ]] || model_dir=$PWD/$MODEL_DIR
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh
.venv/bin/python -m trainer.main --flagfile=configs/quickstart.flags \
    --model_dir="$model_dir" "$@"

# Versions are numbers; the highest is the newest.
newest=$(cd "$model_dir/export" && printf '%s\n' [0-9]* | sort -n | tail -n 1)
saved_model=$model_dir/export/$newest
echo
echo "Two sentences, through the exported model $saved_model:"
printf '%s\n' \
    'The movie was absolutely wonderful, full of joy.' \
    'The movie was terrible and boring.' |
    .venv/bin/python -m trainer.predict --saved_model="$saved_model" --input=-
echo
cat "$model_dir/summary.txt"
