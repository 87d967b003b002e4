"""What a study is: the settings of a run, and which runs to make of them.

    config = StudyConfig(
        study_dir="studies/a", data=DataConfig(dataset="files:reviews.csv"), ...
    )
    config.sizes, config.run_seeds          # (), (0,)
    config.run(3, num_train_examples=1000, seed=0).model_dir    # "studies/a/runs/003"

All flags of a run are flags of a study, so that one flagfile serves both.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.config import ExperimentConfig, setting
from trainer.messages import message

StudyName = Literal["learning_curve"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(ExperimentConfig):
    """What `python -m trainer.study` does."""

    model_dir: str = setting(
        "",
        "Taken from a run's flagfile and not used: run NNN of the study is in "
        "STUDY_DIR/runs/NNN, its export too (--export_dir is not used either).",
        may_change=True,
    )
    study: StudyName = setting(
        "learning_curve",
        "Which runs to make. `learning_curve`: the same run on growing shares of the "
        "training texts, each within the next, measured on the same held-out texts.",
    )
    study_dir: str = setting(
        "",
        "Folder of the study: its runs, study.json, study.html and the picture. A study "
        "that was stopped continues from here. Required.",
        may_change=True,
    )
    num_jobs: int = setting(
        1,
        "Make this many runs at a time, each in a process of its own on this machine. "
        "Several machines with a shared STUDY_DIR work on one study, too: start the same "
        "command on each. Runs give the same whoever makes them.",
        may_change=True,
    )
    train_sizes: tuple[str, ...] = setting(
        (),
        "Numbers of training texts for the learning curve, ascending, separated by "
        "commas. Empty: 100, 300, 1000, 3000 and so on, then all of them (or "
        "--num_train_examples).",
    )
    seeds: tuple[str, ...] = setting(
        (),
        "Seeds, separated by commas; every size is run with each. A seed stands for "
        "another draw of the training texts, another order and other first weights, so "
        "several show how far a result depends on these. Empty: --seed alone.",
    )

    def __post_init__(self) -> None:
        # First the study's own: what is wrong with a run, its config says.
        if not self.study_dir:
            raise ValueError(message("--study_dir is required", received="none"))
        if self.num_jobs < 1:
            raise ValueError(
                message("--num_jobs must be at least 1", received=self.num_jobs)
            )
        sizes = _whole_numbers("train_sizes", self.train_sizes, at_least=1)
        if sizes != tuple(sorted(set(sizes))):
            raise ValueError(
                message(
                    "--train_sizes must be ascending, each size once",
                    received=",".join(self.train_sizes),
                    mend=f"give --train_sizes={','.join(map(str, sorted(set(sizes))))}",
                )
            )
        seeds = _whole_numbers("seeds", self.seeds, at_least=0)
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                message(
                    "--seeds must be different numbers",
                    received=",".join(self.seeds),
                    mend=f"give --seeds={','.join(map(str, dict.fromkeys(seeds)))}",
                )
            )
        for seed in self.run_seeds:
            self.run(0, num_train_examples=0, seed=seed)

    @property
    def sizes(self) -> tuple[int, ...]:
        """--train_sizes as numbers; empty: to be chosen by the data."""
        return tuple(map(int, self.train_sizes))

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, at least one."""
        return tuple(map(int, self.seeds)) or (self.training.seed,)

    def run(
        self, number: int, *, num_train_examples: int, seed: int
    ) -> ExperimentConfig:
        """The config of a run: what `trainer.main` would take to make it alone.

        Args:
          number: of the run within the study, from 0.
          num_train_examples: 0: all of them.
          seed: of everything random.

        Raises:
          ValueError: the settings do not go together.
        """
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(ExperimentConfig)
        }
        return ExperimentConfig(
            **values
            | {
                "model_dir": f"{self.study_dir.rstrip('/')}/runs/{number:03}",
                "data": dataclasses.replace(
                    self.data, num_train_examples=num_train_examples
                ),
                "training": dataclasses.replace(self.training, seed=seed),
                # A shared folder would serve what the last run of a study exported.
                "serving": dataclasses.replace(self.serving, export_dir=""),
            }
        )


def _whole_numbers(
    name: str, values: tuple[str, ...], *, at_least: int
) -> tuple[int, ...]:
    numbers = [value.strip() for value in values]
    # `isdecimal` takes digits of other scripts, as `int` does.
    if all(text.isdecimal() and int(text) >= at_least for text in numbers):
        return tuple(map(int, numbers))
    raise ValueError(
        message(
            f"--{name} must be whole numbers of at least {at_least}, separated by commas",
            received=",".join(values),
            mend=f"write them as in --{name}={'100,300,1000' if at_least else '0,1,2'}",
        )
    )
