"""The folder of a study: every name in --study_dir, and whether it is this study's.

    folder = study_folder.at("studies/a")
    with folder.in_turn():
        storage.write_text(folder.results, text)

Several processes work in it at once, on one machine or on several that share it. What
keeps them apart is the lock of each run's folder; that of the study's own is taken for
moments, to write what all of them write.

| name | what it holds |
|---|---|
| `config.json` | every setting of the study, from when its runs were planned |
| `runs/NNN/` | a run, with all that a run leaves (`run_folder.py`) |
| `runs/NNN.flags` | what `trainer.main` takes to make that run alone |
| `runs/NNN.diverged` | why there is no such run: the training diverged |
| `study.json`, `study.html`, `study.txt` | the results |
| `out_of_fold.parquet` | the answers to the texts of all folds (`out_of_fold.py`) |
| `export/` | versions of the ensemble of a study of folds (`ensemble.py`) |
| `ensemble.json` | what the newest of them was made of, and what was measured of it |
| `learning_curve.png` | the picture of them, for pages that show no SVG |
| `.lock` | who writes these now |
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Iterator

from trainer import folder_lock, storage
from trainer.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class StudyFolder:
    """Names of the files of a study.

    Attributes:
      path: the folder itself, --study_dir.
    """

    path: storage.Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> storage.Path:
        """The settings of the study."""
        return self.path / "config.json"

    @property
    def results(self) -> storage.Path:
        """The results as JSON. Written last: a study that has it is finished."""
        return self.path / "study.json"

    @property
    def page(self) -> storage.Path:
        """The results as a page."""
        return self.path / "study.html"

    @property
    def summary(self) -> storage.Path:
        """The closing table."""
        return self.path / "study.txt"

    @property
    def out_of_fold(self) -> storage.Path:
        """The answers of a study of folds to all texts."""
        return self.path / "out_of_fold.parquet"

    @property
    def ensemble(self) -> storage.Path:
        """What was published of a study of folds as one model. Written after it."""
        return self.path / "ensemble.json"

    @property
    def picture(self) -> storage.Path:
        """The picture of the learning curve."""
        return self.path / "learning_curve.png"

    def run(self, number: int) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / "runs" / f"{number:03}")

    def run_flags(self, number: int) -> storage.Path:
        """The flagfile of a run."""
        return self.path / "runs" / f"{number:03}.flags"

    def diverged(self, number: int) -> storage.Path:
        """Says of a run that its training diverged, and how."""
        return self.path / "runs" / f"{number:03}.diverged"

    def why_diverged(self, number: int) -> str | None:
        """How the training of a run diverged; None: it did not, or was not tried."""
        place = self.diverged(number)
        return place.read_text(encoding="utf-8").strip() if place.is_file() else None

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Other processes of the study that come here wait until the block ends.

        Raises:
          ValueError: the place cannot be written.
        """
        with folder_lock.held_in_turn(self.path, flag="study_dir"):
            storage.remove_leftovers(self.path)
            yield


def at(study_dir: str) -> StudyFolder:
    """The folder of a study; it need not be there."""
    return StudyFolder(storage.path(study_dir))
