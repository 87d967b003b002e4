"""The folder of a study: every name in --study_dir, and whether it is this study's.

    with study_folder.opened("studies/a") as folder:
        storage.write_text(folder.results, text)

| name | what it holds |
|---|---|
| `config.json` | every setting of the study, from when its runs were planned |
| `runs/NNN/` | a run, with all that a run leaves (`run_folder.py`) |
| `study.json`, `study.html`, `study.txt` | the results |
| `learning_curve.png` | the picture of them, for pages that show no SVG |
| `.lock` | who uses the folder now |
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Iterator

from trainer import folder_lock, storage


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
    def picture(self) -> storage.Path:
        """The picture of the learning curve."""
        return self.path / "learning_curve.png"


@contextlib.contextmanager
def opened(study_dir: str) -> Iterator[StudyFolder]:
    """The folder of a study, which no other process uses until the block ends.

    Raises:
      ValueError: the place cannot be written, or another process uses it.
    """
    folder = StudyFolder(storage.path(study_dir))
    with folder_lock.held(folder.path, flag="study_dir"):
        storage.remove_leftovers(folder.path)
        yield folder
