"""What starts a run: which exit codes lead to a restart, and who the workers are told."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from typing import Any, Callable, Iterator, Sequence

import kubeflow_trainer_api.models as kubernetes
import pytest
import yaml
from absl import flags as absl_flags

from trainer import exit_codes, flags
from trainer.config import ExperimentConfig, PredictConfig
from trainer.runtime import cluster

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
LAUNCHERS = SCRIPTS / "launchers"
TIMEOUT_SECS = 60.0

# A worker that writes its environment to FOLDER/ATTEMPT_INDEX.json, and ends as
# CODES[ATTEMPT][INDEX] says; a negative code is a signal that it sends itself.
WORKER = """
import json, os, pathlib, sys
folder, codes = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
attempt = len(list(folder.glob(f"*_{index}.json")))
(folder / f"{attempt}_{index}.json").write_text(json.dumps(dict(os.environ)))
code = codes[attempt][index]
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


Launcher = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """Starts launch_local.py with two workers that are a piece of Python."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    started: list[subprocess.Popen[str]] = []

    def kill() -> None:
        for process in started:
            process.kill()

    # Ends what a test waits for in vain.
    timer = threading.Timer(TIMEOUT_SECS, kill)
    timer.start()

    def start(
        *options: str,
        code: str,
        arguments: Sequence[object] = (),
        what: str = "--num_workers=2",
    ) -> subprocess.Popen[str]:
        worker = [sys.executable, "-c", code, *map(str, arguments)]
        launcher = [sys.executable, str(LAUNCHERS / "launch_local.py"), what]
        started.append(
            subprocess.Popen(
                [*launcher, *options, "--", *worker],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    timer.cancel()
    kill()
    for process in started:
        process.wait()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Gives exit code, standard output and standard error."""
    output, error = process.communicate(timeout=TIMEOUT_SECS)
    return process.returncode, output, error


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# By attempt, the exit codes of the two workers; then options, the launcher's exit code
# and what it says.
RESTARTS: dict[str, tuple[list[list[int]], list[str], int, list[str]]] = {
    "finished": ([[0, 0]], [], 0, []),
    "a mistake": ([[2, 75]], [], 2, ["worker 0 ended with exit code 2"]),
    "diverged": ([[75, 3]], [], 3, ["a restart would not help"]),
    "Ctrl-C in a worker": ([[130, 0]], [], 130, []),
    "a mistake after a crash": ([[-9, -9], [2, 2]], [], 2, []),
    "preempted": ([[75, 75], [0, 0]], [], 0, ["restart 1 of 10"]),
    "one had finished": ([[0, 75], [0, 0]], [], 0, ["restart 1 of 10"]),
    "crashes": (
        [[-9, 75], [75, 1], [0, 0]],
        [],
        0,
        ["worker 0 was ended by SIGKILL", "worker 1 ended with exit code 1"],
    ),
    "no more restarts": (
        [[75, 75], [75, 0]],
        ["--max_restarts=1"],
        75,
        ["restart 1 of 1", "given up after 1 restarts"],
    ),
    "no more after a crash": ([[75, 75], [1, 75]], ["--max_restarts=1"], 1, []),
    "no more, crash first": ([[1, 75], [75, 75]], ["--max_restarts=1"], 1, []),
    "none allowed": ([[75, 75]], ["--max_restarts=0"], 75, []),
}


@pytest.mark.parametrize(
    "codes, options, expected, says", RESTARTS.values(), ids=RESTARTS
)
def test_local_restarts_by_exit_codes(
    codes: list[list[int]],
    options: list[str],
    expected: int,
    says: list[str],
    tmp_path: pathlib.Path,
    start_launcher: Launcher,
) -> None:
    arguments = [tmp_path, json.dumps(codes)]
    code, _, error = finish(start_launcher(*options, code=WORKER, arguments=arguments))
    assert code == expected, error
    assert len(list(tmp_path.iterdir())) == 2 * len(codes)
    for text in says:
        assert text in error


def test_local_workers_find_each_other(
    tmp_path: pathlib.Path,
    start_launcher: Launcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in an allocation of Slurm's or a pod; at each restart on other ports."""
    for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "JOB_COMPLETION_INDEX"):
        monkeypatch.setenv(name, "5")
    monkeypatch.setenv("TRAINER_NUM_WORKERS", "9")
    arguments = [tmp_path, "[[75, 75], [0, 0]]"]
    assert finish(start_launcher(code=WORKER, arguments=arguments))[0] == 0
    attempts = []
    for attempt in range(2):
        environments = [
            json.loads((tmp_path / f"{attempt}_{index}.json").read_text())
            for index in range(2)
        ]
        first, second = [cluster.find(each) for each in environments]
        assert first is not None and second is not None
        assert (first.index, second.index) == (0, 1)
        assert first.addresses == second.addresses
        assert len(set(first.addresses)) == 2
        assert all(re.fullmatch(r"localhost:\d+", each) for each in first.addresses)
        attempts.append(first.addresses)
    assert attempts[0] != attempts[1]


def test_local_passes_every_line_on_with_its_worker(start_launcher: Launcher) -> None:
    """More than pipes hold, on both streams; the last line unfinished."""
    code = (
        "import json, os, sys\n"
        "index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
        "for k in range(5000):\n"
        "    print(f'{index} says {k}', '.' * 40)\n"
        "    print(f'{index} warns of {k}', file=sys.stderr)\n"
        "sys.stdout.write('end')\n"
    )
    returncode, output, _ = finish(start_launcher(code=code))
    assert returncode == 0
    lines = output.splitlines()
    for index in range(2):
        mine = [line for line in lines if line.startswith(f"[{index}] ")]
        expected = [
            f"[{index}] {index} {text}"
            for k in range(5000)
            for text in (f"says {k} {'.' * 40}", f"warns of {k}")
        ]
        assert mine == [*expected, f"[{index}] end"]
    assert len(lines) == 2 * 10_001


def test_local_goes_on_when_nobody_reads_its_output(start_launcher: Launcher) -> None:
    code = "for k in range(20000): print('.' * 40)"
    process = start_launcher(code=code)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=TIMEOUT_SECS) == 0


# Worker 0 fails when the others are ready; 1 heeds SIGTERM, 2 does not.
STUBBORN = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
if index == 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / str(index)).touch()
while index or len(list(folder.iterdir())) < 3:
    time.sleep(0.005)
sys.exit(1)
"""


def test_local_ends_workers_that_do_not_end_by_themselves(
    tmp_path: pathlib.Path,
) -> None:
    quick = (
        "import sys; from scripts.launchers import launch_local; "
        "launch_local.TERMINATION_SECS = 0.3; sys.exit(launch_local.main())"
    )
    options = ["--num_workers=3", "--grace_secs=0.1", "--max_restarts=0", "--"]
    done = subprocess.run(
        [*(sys.executable, "-c", quick), *options]
        + [sys.executable, "-c", STUBBORN, str(tmp_path)],
        cwd=ROOT,
        timeout=TIMEOUT_SECS,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1
    assert (
        "worker 0 ended with exit code 1, worker 1 was ended by SIGTERM, "
        "worker 2 was ended by SIGKILL" in done.stderr
    )


# Ends as a run does at SIGTERM: after some work, with the code that it is given.
SAVES = """
import pathlib, signal, sys
def save(*_):
    print("saved")
    (pathlib.Path(sys.argv[1]) / sys.argv[3]).touch()
    sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGTERM, save)
print("ready")
while True:
    signal.pause()
"""


@pytest.mark.parametrize(
    "signum, worker_code, expected",
    [(signal.SIGTERM, 75, 75), (signal.SIGINT, 75, 130), (signal.SIGTERM, 0, 0)],
)
def test_local_passes_termination_on_and_does_not_restart(
    signum: signal.Signals,
    worker_code: int,
    expected: int,
    tmp_path: pathlib.Path,
    start_launcher: Launcher,
) -> None:
    process = start_launcher(code=SAVES, arguments=[tmp_path, worker_code, "saved"])
    assert process.stdout is not None
    # These lines come while the workers run: nothing is held back.
    assert {process.stdout.readline() for _ in range(2)} == {
        "[0] ready\n",
        "[1] ready\n",
    }
    process.send_signal(signum)
    returncode, output, error = finish(process)
    assert sorted(output.splitlines()) == ["[0] saved", "[1] saved"]
    assert returncode == expected
    assert "restart" not in error


def test_local_workers_end_with_a_killed_launcher(
    tmp_path: pathlib.Path, start_launcher: Launcher
) -> None:
    code = SAVES.replace('    print("saved")\n', "")
    process = start_launcher(code=code, arguments=[tmp_path, 75, "saved"])
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.kill()
    wait_for((tmp_path / "saved").exists)


# Answers a part as it is told: writes its variables to FOLDER/PART_ATTEMPT.json and ends
# as CODES[PART][ATTEMPT] says; and joins, with the code CODES["join"].
PART = """
import json, os, pathlib, sys
folder, codes = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
flag, _, part = sys.argv[3].partition("=")
index = part.partition("/")[0] if flag == "--shard" else "join"
attempt = len(list(folder.glob(f"{index}_*.json")))
variables = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"), "part": part}
(folder / f"{index}_{attempt}.json").write_text(json.dumps(variables))
print("part", part)
code = codes[index][attempt]
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
# By part, the exit codes of its attempts, and that of joining; then options, the
# launcher's exit code, and what it says.
PARTS: dict[str, tuple[dict[str, list[int]], list[str], int, list[str]]] = {
    "answered": ({"0": [0], "1": [0], "2": [0], "join": [0]}, [], 0, []),
    "one at a time": (
        {"0": [0], "1": [0], "2": [0], "join": [0]},
        ["--num_at_once=1"],
        0,
        [],
    ),
    "one is lost": (
        {"0": [0], "1": [-9, 75, 0], "2": [0], "join": [0]},
        [],
        0,
        ["part 1/3 was ended by SIGKILL; restart 1", "exit code 75; restart 2 of 10"],
    ),
    "a mistake in one": (
        {"0": [0], "1": [2], "2": [1, 0]},
        [],
        2,
        ["part 1/3 ended with exit code 2; a restart", "not joined: parts 1 of 3"],
    ),
    "crashes": (
        {"0": [1, 1], "1": [0], "2": [-9, -9]},
        ["--max_restarts=1"],
        1,
        ["part 2/3 was ended by SIGKILL; given up", "not joined: parts 0, 2 of 3"],
    ),
    "preempted too often": (
        {"0": [75], "1": [0], "2": [0]},
        ["--max_restarts=0"],
        75,
        ["given up after 0 restarts"],
    ),
    "not to be joined": ({"0": [0], "1": [0], "2": [0], "join": [2]}, [], 2, []),
}


@pytest.mark.parametrize("codes, options, expected, says", PARTS.values(), ids=PARTS)
def test_local_parts_restart_by_themselves(
    codes: dict[str, list[int]],
    options: list[str],
    expected: int,
    says: list[str],
    tmp_path: pathlib.Path,
    start_launcher: Launcher,
) -> None:
    process = start_launcher(
        *options,
        code=PART,
        arguments=[tmp_path, json.dumps(codes)],
        what="--num_shards=3",
    )
    code, output, error = finish(process)
    assert code == expected, error
    made = {path.name for path in tmp_path.iterdir()}
    attempts = {f"{part}_{n}.json" for part in codes for n in range(len(codes[part]))}
    assert made == attempts
    assert "[1] part 1/3" in output.splitlines()
    for text in says:
        assert text in error


def test_local_parts_have_a_gpu_each(
    tmp_path: pathlib.Path, start_launcher: Launcher
) -> None:
    codes = {**{str(index): [0] for index in range(5)}, "join": [0]}
    arguments = [tmp_path, json.dumps(codes)]
    process = start_launcher(
        "--num_gpus=2", code=PART, arguments=arguments, what="--num_shards=5"
    )
    code, _, error = finish(process)
    assert code == 0, error
    seen = {
        path.name: json.loads(path.read_text())["CUDA_VISIBLE_DEVICES"]
        for path in tmp_path.iterdir()
    }
    assert {seen["0_0.json"], seen["1_0.json"]} == {"0", "1"}
    assert {gpu for name, gpu in seen.items() if name != "join_0.json"} == {"0", "1"}


def test_local_parts_are_stopped_together(
    tmp_path: pathlib.Path, start_launcher: Launcher
) -> None:
    """And the part that waited is not begun, nor anything joined."""
    code = SAVES.replace("sys.argv[3]", "sys.argv[3].replace('/', '-of-')")
    process = start_launcher(
        "--num_at_once=2", code=code, arguments=[tmp_path, 75], what="--num_shards=3"
    )
    assert process.stdout is not None
    ready = {process.stdout.readline() for _ in range(2)}
    assert ready == {"[0] ready\n", "[1] ready\n"}
    process.send_signal(signal.SIGTERM)
    returncode, output, error = finish(process)
    assert sorted(output.splitlines()) == ["[0] saved", "[1] saved"]
    assert returncode == 75
    assert "restart" not in error and "not joined: parts 0, 1, 2 of 3" in error


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--", "true"], "one of --num_workers and --num_shards is required"),
        (["--num_workers=1", "--num_shards=1", "--", "true"], "and one alone"),
        (["--num_workers=1", "--num_gpus=1", "--", "true"], "are for --num_shards"),
        (["--num_shards=0", "--", "true"], "--num_shards must be at least 1"),
        (["--num_shards=2", "--", "no-such-program"], "no-such-program"),
        (["--num_workers=0", "--", "true"], "--num_workers must be at least 1"),
        (["--num_workers=2", "--grace_secs=inf", "--", "true"], "Received: inf"),
        (["--num_workers=2"], "command"),
        (["--num_workers=2", "--", "no-such-program"], "no-such-program"),
    ],
)
def test_local_refuses_mistakes(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, str(LAUNCHERS / "launch_local.py"), *arguments],
        timeout=TIMEOUT_SECS,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr


# An answer as somebody may start it, with the name of a flag mistyped.
MISTYPED_PREDICT = [sys.executable, "-m", "trainer.predict", "--savedmodel=a"]


def test_local_parts_do_not_restart_at_a_mistyped_flag() -> None:
    launcher = [sys.executable, str(LAUNCHERS / "launch_local.py"), "--num_shards=2"]
    done = subprocess.run(
        [*launcher, "--", *MISTYPED_PREDICT],
        cwd=ROOT,
        timeout=TIMEOUT_SECS,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("a restart would not help") == 2
    assert "--savedmodel (did you mean 'saved_model'?)" in done.stdout


# A run as somebody may start it, with the name of a flag mistyped.
MISTYPED = [sys.executable, "-m", "trainer.main", "--modeldir=a"]


def test_local_does_not_restart_at_a_mistyped_flag() -> None:
    launcher = [sys.executable, str(LAUNCHERS / "launch_local.py"), "--num_workers=2"]
    done = subprocess.run(
        [*launcher, "--", *MISTYPED],
        cwd=ROOT,
        timeout=TIMEOUT_SECS,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert "a restart would not help" in done.stderr
    assert "--modeldir (did you mean 'model_dir'?)" in done.stdout


@pytest.fixture(scope="module")
def code_of_a_mistyped_flag() -> int:
    """What the other launchers are given to decide by."""
    return subprocess.run(MISTYPED, cwd=ROOT, stderr=subprocess.DEVNULL).returncode


SHELL_SCRIPTS = sorted([*SCRIPTS.rglob("*.sh"), *SCRIPTS.rglob("*.sbatch")])


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: str(path.name))
def test_shell_scripts_pass_the_linter(script: pathlib.Path) -> None:
    shellcheck = shutil.which(
        "shellcheck", path=str(pathlib.Path(sys.executable).parent)
    )
    assert shellcheck is not None, "install '.[dev]'"
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def write_program(path: pathlib.Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run_with_programs(
    folder: pathlib.Path, script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a folder whose programs it finds first."""
    return subprocess.run(
        ["bash", str(LAUNCHERS / script), *arguments],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment,
        timeout=TIMEOUT_SECS,
        text=True,
        capture_output=True,
    )


SLURM: dict[str, tuple[int, str, bool]] = {
    "finished": (0, "", False),
    "a mistake": (2, "", False),
    "diverged": (3, "", False),
    "Ctrl-C": (130, "", False),
    "preempted": (75, "", True),
    "preempted again": (75, "2", True),
    "no more restarts": (75, "3", False),
    "crashed": (1, "", True),
    "killed": (137, "1", True),
    "terminated": (143, "", True),
    "out of memory, as srun says it": (253, "", True),
    "killed too often": (137, "3", False),
}


@pytest.mark.parametrize("code, restarts, requeued", SLURM.values(), ids=SLURM)
def test_slurm_restarts_by_exit_codes(
    code: int, restarts: str, requeued: bool, tmp_path: pathlib.Path
) -> None:
    check_slurm(tmp_path, code, restarts=restarts, requeued=requeued)


def test_slurm_does_not_restart_at_a_mistyped_flag(
    tmp_path: pathlib.Path, code_of_a_mistyped_flag: int
) -> None:
    check_slurm(tmp_path, code_of_a_mistyped_flag, restarts="", requeued=False)


def check_slurm(
    tmp_path: pathlib.Path, code: int, *, restarts: str, requeued: bool
) -> None:
    """Runs the batch script with an srun that ends so, and looks at what it calls."""
    for name in ("srun", "scontrol"):
        text = f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >>calls\nexit ${{{name}:-0}}\n'
        write_program(tmp_path / name, text)
    done = run_with_programs(
        tmp_path,
        "slurm.sbatch",
        "--flagfile=a b.flags",
        "--model_dir=/runs/a",
        srun=str(code),
        SLURM_JOB_ID="42",
        SLURM_CPUS_PER_TASK="8",
        MAX_RESTARTS="3",
        **({"SLURM_RESTART_COUNT": restarts} if restarts else {}),
    )
    assert done.returncode == code, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    command = [".venv/bin/python", "-m", "trainer.main"]
    command += ["--flagfile=a b.flags", "--model_dir=/runs/a"]
    step = ["srun", "--label", "--kill-on-bad-exit=1", "--cpus-per-task=8", *command]
    requeue = ["scontrol", "requeue", "incomplete", "42"] if requeued else []
    assert calls == step + requeue
    assert (f"restart {int(restarts or 0) + 1} of 3" in done.stderr) == requeued


@pytest.mark.parametrize(
    "script, more",
    [
        ("slurm.sbatch", ["--ntasks-per-node=1", "--signal=TERM@120"]),
        ("slurm_predict.sbatch", ["--ntasks=1", "--signal=TERM@60"]),
    ],
)
def test_slurm_is_asked_for_what_a_restart_needs(script: str, more: list[str]) -> None:
    lines = (LAUNCHERS / script).read_text().splitlines()
    # sbatch reads no further than to the first command.
    head = [line for line in lines[: lines.index("set -uo pipefail")]]
    asked = {
        line.removeprefix("#SBATCH ") for line in head if line.startswith("#SBATCH")
    }
    assert asked.issuperset(["--requeue", "--open-mode=append", *more])
    assert len(asked) == sum(line.startswith("#SBATCH") for line in lines)


ARRAY = {
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_COUNT": "8",
    "SLURM_ARRAY_TASK_MAX": "7",
}
# srun's exit code, Slurm's restarts, further variables; what the program is given, and
# whether the task is requeued.
SLURM_PARTS: dict[str, tuple[int, str, dict[str, str], str, bool]] = {
    "answered": (0, "", ARRAY, "--shard=2/8", False),
    "a mistake": (2, "", ARRAY, "--shard=2/8", False),
    "Ctrl-C": (130, "", ARRAY, "--shard=2/8", False),
    "time is over": (143, "1", ARRAY, "--shard=2/8", True),
    "killed": (137, "", ARRAY, "--shard=2/8", True),
    "killed too often": (137, "3", ARRAY, "--shard=2/8", False),
    "some of all": (
        0,
        "",
        ARRAY | {"SLURM_ARRAY_TASK_COUNT": "2", "NUM_SHARDS": "9"},
        "--shard=2/9",
        False,
    ),
    "joining": (0, "", {"JOIN": "1"}, "--join", False),
    "nothing to join": (2, "", {"JOIN": "1"}, "--join", False),
}


@pytest.mark.parametrize(
    "code, restarts, variables, flag, requeued", SLURM_PARTS.values(), ids=SLURM_PARTS
)
def test_slurm_parts_restart_by_exit_codes(
    code: int,
    restarts: str,
    variables: dict[str, str],
    flag: str,
    requeued: bool,
    tmp_path: pathlib.Path,
) -> None:
    done = run_slurm_parts(tmp_path, code, SLURM_RESTART_COUNT=restarts, **variables)
    assert done.returncode == code, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    command = [".venv/bin/python", "-m", "trainer.predict", "--input=a b.csv", flag]
    requeue = ["scontrol", "requeue", "incomplete", "42"] if requeued else []
    assert calls == ["srun", "--cpus-per-task=8", *command, *requeue]


def test_slurm_parts_do_not_restart_at_a_mistyped_flag(tmp_path: pathlib.Path) -> None:
    code = subprocess.run(MISTYPED_PREDICT, cwd=ROOT, capture_output=True).returncode
    run_slurm_parts(tmp_path, code, **ARRAY)
    assert "scontrol" not in (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    "variables, says",
    [
        ({}, "the job must be an array. Received: none; give --array=0-7"),
        (
            ARRAY | {"SLURM_ARRAY_TASK_MAX": "8"},
            "the array must be 0 to N - 1. Received: 8 tasks up to 8; give --array=0-7",
        ),
    ],
)
def test_slurm_names_an_array_that_is_none(
    variables: dict[str, str], says: str, tmp_path: pathlib.Path
) -> None:
    done = run_slurm_parts(tmp_path, 0, **variables)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "calls").exists()


def run_slurm_parts(
    folder: pathlib.Path, code: int, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the batch script of parts with an srun that ends so."""
    for name in ("srun", "scontrol"):
        text = f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >>calls\nexit ${{{name}:-0}}\n'
        write_program(folder / name, text)
    return run_with_programs(
        folder,
        "slurm_predict.sbatch",
        "--input=a b.csv",
        srun=str(code),
        SLURM_JOB_ID="42",
        SLURM_CPUS_PER_TASK="8",
        MAX_RESTARTS="3",
        **variables,
    )


# Answers from the lists in states.json and codes.json beside it, and writes down what
# it is called with.
GCLOUD = """#!{python}
import json, pathlib, shutil, sys
folder = pathlib.Path(__file__).parent
def take(name):
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(values[1:]))
    return values[0]
words = sys.argv[1:]
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[3] == "describe":
    state = take("states.json")
    sys.exit(1) if state is None else print(state)
if words[3] == "scp":
    shutil.copy(words[4], folder / "copied.tar.gz")
if any("trainer.main" in word for word in words):
    sys.exit(take("codes.json"))
"""
NEW = [None, "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
CREATED = ["describe", "create", "describe", "describe", "describe"]
TRAINED = ["scp", "ssh", "ssh"]
# The VM's states at each look, training's exit codes; the script's, and its calls.
TPU: dict[str, tuple[list[str | None], list[int], int, list[str]]] = {
    "new": (NEW, [0], 0, [*CREATED, *TRAINED]),
    "there already": (["ACTIVE"], [0], 0, ["describe", *TRAINED]),
    "a mistake": (["ACTIVE"], [2], 2, ["describe", *TRAINED]),
    "diverged": (["ACTIVE"], [3], 3, ["describe", *TRAINED]),
    "crash": (["ACTIVE"] * 2, [1, 0], 0, ["describe", *TRAINED] * 2),
    "preempted": (
        ["ACTIVE", "SUSPENDING", "SUSPENDED", *NEW],
        [255, 0],
        0,
        ["describe", *TRAINED, "describe", "describe", "delete", *CREATED, *TRAINED],
    ),
    "not to be had": (
        ["FAILED", *NEW],
        [0],
        0,
        ["describe", "delete", *CREATED, *TRAINED],
    ),
    "no more restarts": (["ACTIVE"] * 3, [75] * 3, 75, ["describe", *TRAINED] * 3),
}


def run_tpu(
    folder: pathlib.Path,
    states: Sequence[str | None],
    codes: Sequence[int],
    *arguments: str,
    **environment: str,
) -> tuple[int, list[list[str]]]:
    """Gives the script's exit code and its calls of gcloud."""
    write_program(folder / "gcloud", GCLOUD.format(python=sys.executable))
    (folder / "states.json").write_text(json.dumps(states))
    (folder / "codes.json").write_text(json.dumps(codes))
    done = run_with_programs(
        folder,
        "tpu_vm.sh",
        *arguments,
        **{"NAME": "bert", "ZONE": "z", "ACCELERATOR_TYPE": "v5litepod-8"},
        **{"RUNTIME_VERSION": "v2", "POLL_SECS": "0", "MAX_RESTARTS": "2"},
        **environment,
    )
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return done.returncode, calls


@pytest.mark.parametrize("states, codes, expected, verbs", TPU.values(), ids=TPU)
def test_tpu_restarts_by_exit_codes(
    states: list[str | None],
    codes: list[int],
    expected: int,
    verbs: list[str],
    tmp_path: pathlib.Path,
) -> None:
    code, calls = run_tpu(tmp_path, states, codes)
    assert code == expected
    assert [call[3] for call in calls] == verbs


def test_tpu_does_not_restart_at_a_mistyped_flag(
    tmp_path: pathlib.Path, code_of_a_mistyped_flag: int
) -> None:
    code, calls = run_tpu(tmp_path, ["ACTIVE"], [code_of_a_mistyped_flag])
    assert code == code_of_a_mistyped_flag
    assert [call[3] for call in calls] == ["describe", *TRAINED]


def test_tpu_names_a_variable_that_is_not_set(tmp_path: pathlib.Path) -> None:
    done = run_with_programs(tmp_path, "tpu_vm.sh", NAME="bert", ZONE="")
    assert done.returncode == 2
    assert done.stderr.startswith("tpu_vm: set ZONE, as the head of ")


def test_tpu_is_made_and_given_the_program(tmp_path: pathlib.Path) -> None:
    flagfile, model_dir = "--flagfile=configs/a b.flags", "--model_dir=gs://b/runs/a"
    code, calls = run_tpu(tmp_path, NEW, [0], flagfile, model_dir, SPOT="1")
    assert code == 0
    assert all(call[:2] == ["compute", "tpus"] for call in calls)
    assert all(call[-2:] == ["--zone=z", "--quiet"] for call in calls)
    (create,) = [call for call in calls if call[3] == "create"]
    wanted = ["--node-id=bert", "--accelerator-type=v5litepod-8"]
    wanted += ["--runtime-version=v2", "--spot"]
    assert create[2:-2] == ["queued-resources", "create", "bert", *wanted]
    assert calls[-1][2:5] == ["tpu-vm", "ssh", "bert"]
    assert calls[-1][5].endswith(
        "-m trainer.main --strategy=tpu --tpu=local "
        r"--flagfile=configs/a\ b.flags --model_dir=gs://b/runs/a"
    )
    with tarfile.open(tmp_path / "copied.tar.gz") as archive:
        names = set(archive.getnames())
    assert {"setup.cfg", "trainer/main.py", "configs/quickstart.flags"} <= names


def test_tpu_of_several_hosts_is_driven_through_its_servers(
    tmp_path: pathlib.Path,
) -> None:
    _, calls = run_tpu(tmp_path, ["ACTIVE"], [0], TPU="bert")
    assert calls[-1][5].startswith("--command=export TPU_LOAD_LIBRARY=0; ")
    assert calls[-1][5].endswith("--strategy=tpu --tpu=bert")


VALUES = {
    "NAME": "bert",
    "IMAGE": "example.com/bert-trainer:1",
    "NUM_WORKERS": "3",
    "GPUS_PER_WORKER": "2",
    "FLAGFILE": "configs/imdb_bert_base.flags",
    "CLAIM": "runs",
    "MAX_RESTARTS": "20",
    "NUM_SHARDS": "8",
    "NUM_AT_ONCE": "4",
    "GPUS_PER_POD": "1",
}
KINDS = {
    "Service": kubernetes.IoK8sApiCoreV1Service,
    "Job": kubernetes.IoK8sApiBatchV1Job,
    "JobSet": kubernetes.JobsetV1alpha2JobSet,
}
MANIFESTS = ["kubernetes_job.yaml", "kubernetes_jobset.yaml"]
OF_PARTS = ["kubernetes_predict.yaml", "kubernetes_predict_join.yaml"]


def read_manifest(name: str) -> str:
    return (LAUNCHERS / name).read_text()


def render(text: str) -> dict[str, Any]:
    """The manifest's objects by kind, with its variables set as envsubst does."""
    # Only these: to envsubst, $(SHARD) is no variable.
    text = re.sub(r"\$\{(\w+)\}", lambda found: VALUES[found[1]], text)
    documents = yaml.safe_load_all(text)
    return {document["kind"]: document for document in documents}


def is_valid(document: dict[str, Any]) -> bool:
    """Whether the API's types take it, and know every field of it."""
    try:
        # What they do not know they leave out.
        taken = KINDS[document["kind"]].from_dict(copy.deepcopy(document))
    except ValueError:
        return False
    return bool(taken.to_dict() == document)


def job_spec(objects: dict[str, Any]) -> dict[str, Any]:
    """The spec of the Job, or of the JobSet's only one."""
    if "Job" in objects:
        spec: dict[str, Any] = objects["Job"]["spec"]
        return spec
    (replicated,) = objects["JobSet"]["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    template: dict[str, Any] = replicated["template"]["spec"]
    return template


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (only,) = job_spec(objects)["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("name", [*MANIFESTS, *OF_PARTS])
def test_manifests_are_valid(name: str) -> None:
    for kind, document in render(read_manifest(name)).items():
        assert is_valid(document), kind


@pytest.mark.parametrize("name", [*MANIFESTS, *OF_PARTS])
def test_manifests_name_their_variables(name: str) -> None:
    """The list for envsubst is all that the manifest has, and all are exported."""
    text = read_manifest(name)
    used = set(re.findall(r"\$\{(\w+)\}", text))
    listed = re.findall(r"envsubst '([^']*)'", text)
    assert [set(each.replace("$", "").split()) for each in listed] == [used]
    assert used <= VALUES.keys()
    command = text[text.index("export") : text.index("envsubst")]
    assert used == set(re.findall(r"(\w+)=", command))


MISTAKES = [
    ("kubernetes_job.yaml", "podFailurePolicy:", "podFailurPolicy:"),
    ("kubernetes_job.yaml", "maxFailedIndexes: 0", 'maxFailedIndexes: "0"'),
    ("kubernetes_job.yaml", "restartPolicy: Never", "restartPolicy: Nevr"),
    ("kubernetes_job.yaml", "action: FailJob\n", "action: FailJobSet\n"),
    ("kubernetes_job.yaml", "publishNotReadyAddresses", "publishNotReadyAddress"),
    ("kubernetes_job.yaml", '"${NUM_WORKERS}"', "${NUM_WORKERS}"),
    ("kubernetes_jobset.yaml", "podFailurePolicy:", "podFailurPolicy:"),
    ("kubernetes_jobset.yaml", "enableDNSHostnames", "enableDnsHostnames"),
    ("kubernetes_jobset.yaml", "onJobFailureReasons", "onJobFailureReason"),
    ("kubernetes_jobset.yaml", "      - name: restart", "      - nme: restart"),
    ("kubernetes_jobset.yaml", "operator: In", "operator: Inn"),
    ("kubernetes_predict.yaml", "action: FailIndex", "action: FailIndx"),
    ("kubernetes_predict.yaml", "fieldPath", "fieldpath"),
    ("kubernetes_predict_join.yaml", "backoffLimit: 3", "backofLimit: 3"),
]


@pytest.mark.parametrize("name, right, wrong", MISTAKES)
def test_mistakes_in_manifests_are_found(name: str, right: str, wrong: str) -> None:
    text = read_manifest(name)
    assert right in text
    documents = render(text.replace(right, wrong)).values()
    assert not all(map(is_valid, documents))


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_find_each_other(name: str) -> None:
    """The program expects the DNS names that Kubernetes gives the pods."""
    objects = render(read_manifest(name))
    spec = job_spec(objects)
    if "Job" in objects:
        job, service = objects["Job"]["metadata"]["name"], objects["Service"]
        subdomain = spec["template"]["spec"]["subdomain"]
        assert subdomain == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None"
        # The label that the Job's controller puts on its pods.
        labels = {"batch.kubernetes.io/job-name": job}
        assert service["spec"]["selector"] == labels
    else:
        jobset = objects["JobSet"]["metadata"]["name"]
        job = f"{jobset}-{objects['JobSet']['spec']['replicatedJobs'][0]['name']}-0"
        # JobSet's default.
        subdomain = jobset
        assert objects["JobSet"]["spec"]["network"]["enableDNSHostnames"] is True
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 3
    hosts = [f"{job}-{index}.{subdomain}" for index in range(3)]
    variables = {each["name"]: each["value"] for each in container(objects)["env"]}
    for index in range(3):
        found = cluster.find(variables | {"JOB_COMPLETION_INDEX": str(index)})
        assert found is not None
        assert found.index == index
        assert found.addresses == tuple(f"{host}:12355" for host in hosts)


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_restart_by_exit_codes(name: str) -> None:
    objects = render(read_manifest(name))
    spec = job_spec(objects)
    final = [exit_codes.USER_ERROR, exit_codes.DIVERGED]
    fail, *others = spec["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob"
    assert fail["onExitCodes"] == {"operator": "In", "values": final}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    if "Job" in objects:
        assert [rule["action"] for rule in others] == ["Ignore"]
        assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (20, 0)
    else:
        policy = objects["JobSet"]["spec"]["failurePolicy"]
        # Its Job fails at the first pod, and what is not in the rule is restarted.
        assert (spec["backoffLimit"], others) == (0, [])
        assert policy["maxRestarts"] == 20
        (rule,) = policy["rules"]
        assert rule["action"] == "FailJobSet"
        assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_do_not_restart_at_a_mistyped_flag(
    name: str, code_of_a_mistyped_flag: int
) -> None:
    fail, *_ = job_spec(render(read_manifest(name)))["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob"
    assert code_of_a_mistyped_flag in fail["onExitCodes"]["values"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_are_given_flags_that_exist(name: str) -> None:
    objects = render(read_manifest(name))
    main = container(objects)
    assert main["command"] == ["python", "-m", "trainer.main"]
    values: Any = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.define(ExperimentConfig, values)
    flagfile, *arguments = main["args"]
    assert flagfile == f"--flagfile={VALUES['FLAGFILE']}"
    values(["trainer.main", "--dataset=files:a.csv", "--preset=a", *arguments])
    config = flags.read(ExperimentConfig, values)
    volumes = job_spec(objects)["template"]["spec"]["volumes"]
    (claimed,) = [each["name"] for each in volumes if "persistentVolumeClaim" in each]
    (mount,) = [each for each in main["volumeMounts"] if each["name"] == claimed]
    assert config.model_dir == f"{mount['mountPath']}/bert"
    for cache in (config.data.cache_dir, config.runtime.compile_cache_dir):
        assert pathlib.PurePath(cache).is_relative_to(mount["mountPath"])


def test_pods_of_parts_restart_by_themselves(code_of_a_mistyped_flag: int) -> None:
    spec = job_spec(render(read_manifest("kubernetes_predict.yaml")))
    fail, ignore = spec["podFailurePolicy"]["rules"]
    # One part's mistake does not end the others: no limit is set for failed parts.
    assert fail["action"] == "FailIndex" and "maxFailedIndexes" not in spec
    assert fail["onExitCodes"] == {"operator": "In", "values": [exit_codes.USER_ERROR]}
    assert code_of_a_mistyped_flag in fail["onExitCodes"]["values"]
    assert ignore["action"] == "Ignore"
    assert (spec["backoffLimitPerIndex"], "backoffLimit" in spec) == (20, False)
    joining = job_spec(render(read_manifest("kubernetes_predict_join.yaml")))
    assert joining["podFailurePolicy"]["rules"][0]["action"] == "FailJob"
    for each in (spec, joining):
        assert each["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", OF_PARTS)
def test_pods_of_parts_are_given_flags_that_exist(name: str) -> None:
    objects = render(read_manifest(name))
    main = container(objects)
    assert main["command"] == ["python", "-m", "trainer.predict"]
    flagfile, *arguments = main["args"]
    assert flagfile == f"--flagfile={VALUES['FLAGFILE']}"
    spec = job_spec(objects)
    for index in range(spec.get("completions", 1)):
        values: Any = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
        flags.define(PredictConfig, values)
        given = [each.replace("$(SHARD)", str(index)) for each in arguments]
        files = ["--saved_model=a", "--input=b.csv", "--output=c.csv"]
        values(["trainer.predict", *files, *given])
        config = flags.read(PredictConfig, values)
        assert (config.shard, config.join) == (
            ("", True) if name.endswith("join.yaml") else (f"{index}/8", False)
        )
    if "completions" in spec:
        assert (spec["completionMode"], spec["parallelism"]) == ("Indexed", 4)
        (variable,) = main["env"]
        assert variable["name"] == "SHARD"
        # The annotation that the Job's controller gives each pod.
        assert variable["valueFrom"]["fieldRef"]["fieldPath"] == (
            "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        )


@pytest.mark.parametrize("name", [*MANIFESTS, *OF_PARTS])
def test_pods_write_only_where_something_is_mounted(name: str) -> None:
    """As a user who is not root; HOME is the image's."""
    objects = render(read_manifest(name))
    pod = job_spec(objects)["template"]["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    image = (LAUNCHERS / "Dockerfile").read_text()
    assert f"\nUSER {pod['runAsUser']}:{pod['runAsGroup']}\n" in image
    main = container(objects)
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert main["securityContext"]["allowPrivilegeEscalation"] is False
    (home,) = re.findall(r"^ENV HOME=(.*)$", image, re.MULTILINE)
    mounted = {mount["mountPath"] for mount in main["volumeMounts"]}
    shared = {"/dev/shm"} if name in MANIFESTS else set()
    assert mounted >= {home, "/tmp", "/runs", *shared}
    assert image.index("ENV HOME") > image.index("pip install"), "pip would fill it"


def test_image_takes_files_that_exist() -> None:
    text = (LAUNCHERS / "Dockerfile").read_text()
    sources = [
        word
        for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert {"trainer", "setup.cfg", "constraints.txt"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
