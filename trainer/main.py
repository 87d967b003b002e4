"""Fine-tunes a pretrained BERT on labelled text, reports, and exports a SavedModel.

python -m trainer.main --flagfile=configs/quickstart.flags --model_dir=runs/quickstart

Flags after --flagfile override it. A run that was stopped resumes when the same
command is given again.
"""

from __future__ import annotations

from trainer import flags, stack
from trainer.config import ExperimentConfig
from trainer.data import sources
from trainer.runtime import compile_cache


def main(config: ExperimentConfig) -> None:
    compile_cache.keep_compiled(
        config.runtime.compile_cache_dir, deterministic=config.runtime.deterministic
    )
    # Read first, and the rest imported here, so that --help, a wrong flag and a mistake
    # in a table do not wait for TensorFlow.
    load = sources.loaded_early(config.data)
    stack.load()
    from trainer import experiment

    if config.dry_run:
        print(experiment.dry_run(config, load=load), end="")
    else:
        print(experiment.run(config, load=load).summary, end="")


if __name__ == "__main__":
    flags.run(ExperimentConfig, main)
