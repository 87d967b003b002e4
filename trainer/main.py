"""Fine-tunes a pretrained BERT on labelled text, reports, and exports a SavedModel.

python -m trainer.main --flagfile=configs/quickstart.flags --model_dir=runs/quickstart

Flags after --flagfile override it. A run that was stopped resumes when the same
command is given again.
"""

from __future__ import annotations

from trainer import flags, stack
from trainer.config import ExperimentConfig
from trainer.runtime import compile_cache


def main(config: ExperimentConfig) -> None:
    compile_cache.keep_compiled(
        config.runtime.compile_cache_dir, deterministic=config.runtime.deterministic
    )
    # Imported here, so that --help and a wrong flag do not wait for TensorFlow.
    stack.load()
    from trainer import experiment

    print(experiment.run(config).summary, end="", flush=True)


if __name__ == "__main__":
    flags.run(ExperimentConfig, main)
