#!/usr/bin/env bash
# Trains on a Cloud TPU VM, and on a new one when it was preempted. Built for a TPU, but
# not run on one yet.
#
#   NAME=bert ZONE=us-central1-a ACCELERATOR_TYPE=v5litepod-8 \
#       RUNTIME_VERSION=v2-alpha-tpuv5-lite bash scripts/launchers/tpu_vm.sh \
#       --flagfile=configs/imdb_bert_base.flags --model_dir=gs://BUCKET/runs/imdb
#
# Arguments go to trainer.main; flagfiles are copied from configs/, and what is to
# outlive the VM has to be on gs://. gcloud has to be logged in, and to have a project.
# Also from the environment:
#
#   SPOT=1            a VM that may be preempted, for less money
#   MAX_RESTARTS=20   of crashes, lost connections and preemptions together
#   TPU=local         where TensorFlow looks for the TPU; see below
#
# The VM is a queued resource, NAME, which is waited for and used if it is there already.
# It stays at the end, and costs: gcloud compute tpus queued-resources delete NAME --force
#
# Slices of several hosts: TensorFlow drives all of them from worker 0, where this script
# starts it. Say TPU=$NAME, and as RUNTIME_VERSION tpu-vm-tf-VERSION-pod-pjrt, which runs
# TensorFlow's server on every host, with the VERSION of tensorflow-tpu below.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." || exit 1

for variable in NAME ZONE ACCELERATOR_TYPE RUNTIME_VERSION; do
    if [[ -z ${!variable:-} ]]; then
        echo "tpu_vm: set $variable, as the head of scripts/launchers/tpu_vm.sh shows" >&2
        exit 2
    fi
done
tpu=${TPU:-local}
max_restarts=${MAX_RESTARTS:-20}
poll_secs=${POLL_SECS:-30}

# TensorFlow as other machines have it is built without TPUs. tensorflow-tpu, which is
# built with them, has no 2.21 yet. TF-Text has to be of the same version, and must not
# bring the other TensorFlow back.
install='set -e
    rm -rf bert && mkdir bert && tar -xzf bert.tar.gz -C bert && cd bert
    if cmp -s constraints.txt ~/venv/installed.txt; then exit; fi
    sudo apt-get -q update && sudo apt-get -qy install python3-venv
    python3 -m venv --clear ~/venv
    ~/venv/bin/pip install -q -c constraints.txt -e ".[gcs]"
    ~/venv/bin/pip uninstall -q -y tensorflow tensorflow-text
    ~/venv/bin/pip install -q tensorflow-tpu==2.20.0 libtpu==0.0.14
    ~/venv/bin/pip install -q --no-deps tensorflow-text==2.20.1
    cp constraints.txt ~/venv/installed.txt'
# Under a lock: gcloud gives a command again when the connection was lost, perhaps
# while the first one still runs.
train="cd bert && exec flock ~/training.lock ~/venv/bin/python -m trainer.main"
train+=$(printf ' %q' --strategy=tpu --tpu="$tpu" "$@")
# On one host TensorFlow takes the TPU itself, on several it leaves it to the servers.
[[ $tpu == local ]] || train="export TPU_LOAD_LIBRARY=0; $train"

tpus() {
    gcloud compute tpus "$1" "$2" "${@:3}" --zone="$ZONE" --quiet
}

# Returns when the VM is there; fails where it cannot be had.
get_vm() {
    local state
    while :; do
        state=$(tpus queued-resources describe "$NAME" --format='value(state.state)' \
            2>/dev/null) || state=
        case $state in
        ACTIVE) return ;;
        '')
            echo "tpu_vm: asking for $ACCELERATOR_TYPE" >&2
            tpus queued-resources create "$NAME" --node-id="$NAME" \
                --accelerator-type="$ACCELERATOR_TYPE" \
                --runtime-version="$RUNTIME_VERSION" ${SPOT:+--spot} || return
            ;;
        # Preempted, or not to be had: it never comes back by itself.
        SUSPENDED | FAILED)
            tpus queued-resources delete "$NAME" --force || return
            [[ $state == SUSPENDED ]] || return 1
            ;;
        *)
            echo "tpu_vm: $NAME is $state" >&2
            sleep "$poll_secs"
            ;;
        esac
    done
}

attempt() {
    get_vm || return 1
    tar -czf "$archive" --exclude=__pycache__ LICENSE README.md configs \
        constraints.txt pyproject.toml setup.cfg trainer || return 1
    tpus tpu-vm scp "$archive" "$NAME:bert.tar.gz" &&
        tpus tpu-vm ssh "$NAME" --command="$install" || return 1
    tpus tpu-vm ssh "$NAME" --command="$train"
}

archive=$(mktemp) && trap 'rm -f "$archive"' EXIT
for ((restart = 1; ; restart++)); do
    attempt
    code=$?
    case $code in
    0 | 2 | 3 | 130) exit "$code" ;;
    esac
    if ((restart > max_restarts)); then
        echo "tpu_vm: exit code $code; given up after $max_restarts restarts" >&2
        exit "$code"
    fi
    echo "tpu_vm: exit code $code; restart $restart of $max_restarts" >&2
    sleep "$poll_secs"
done
