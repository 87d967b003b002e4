"""The tasks by the names that --task gives them.

task = choice.of("multi_label")
"""

from __future__ import annotations

from typing import Callable, Mapping

from trainer.config import TaskName
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.ordinal import Ordinal
from trainer.tasks.regression import Regression
from trainer.tasks.single_label import SingleLabel
from trainer.tasks.task import Task

TASKS: Mapping[TaskName, Callable[[], Task]] = {
    "single_label": SingleLabel,
    "multi_label": MultiLabel,
    "ordinal": Ordinal,
    "regression": Regression,
}


def of(name: TaskName) -> Task:
    """The task of this name."""
    return TASKS[name]()
