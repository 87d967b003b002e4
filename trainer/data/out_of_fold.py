"""Out-of-fold probabilities that a folds study wrote: `--out_of_fold=FILE.parquet`.

    rows, probabilities = read("out_of_fold.parquet", pool, label_names=("bad", "good"))

Columns file, line, label, fold, probabilities (one number a class, in the order of the
classes). A row is found by its file and line, and must have the label of the file.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.splits import Pool
from trainer.messages import message

_COLUMNS = ("file", "line", "label", "fold", "probabilities")
_FLAG = "--out_of_fold"


def read(
    path: str,
    pool: Pool,
    *,
    label_names: tuple[str, ...],
    reviewed: frozenset[bytes] = frozenset(),
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pool, int64 [m], and what the model says of them, float64 [m, classes].

    Args:
      reviewed: digests of texts whose label may have been corrected since.

    Raises:
      ValueError: it is no such file, or of other data.
    """
    table = _table(path)
    probabilities = _probabilities(table, path, label_names)
    row_of = {pool.places.of(row): row for row in range(len(pool))}
    rows, judged = [], []
    columns = (table[name].to_pylist() for name in ("file", "line", "label"))
    for number, (file, line, label) in enumerate(zip(*columns)):
        row = row_of.get((file, line))
        if row is None:
            if reviewed:  # It may have been dropped.
                continue
            raise ValueError(_other_data(path, f"{file}:{line}, which is not in them"))
        now = label_names[pool.labels[row]]
        if now != label and pool.digests[row].tobytes() not in reviewed:
            raise ValueError(
                _other_data(path, f"{file}:{line} labelled {label!r}, now {now!r}")
            )
        rows.append(row)
        judged.append(number)
    return np.array(rows, np.int64), probabilities[judged]


def _table(path: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            message(
                f"{_FLAG} must be a Parquet file",
                received=f"{path} ({str(error).splitlines()[0]})",
                mend="name the out_of_fold.parquet of a study of folds",
            )
        ) from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(
            message(
                f"{_FLAG} must have the columns {', '.join(_COLUMNS)}",
                place=path,
                received=f"none called {', '.join(missing)}",
                mend="name the out_of_fold.parquet of a study of folds",
            )
        )
    return table


def _probabilities(
    table: pa.Table, path: str, label_names: tuple[str, ...]
) -> np.ndarray:
    rows = table["probabilities"].to_pylist()
    is_right = all(
        isinstance(row, list) and len(row) == len(label_names) and None not in row
        for row in rows
    )
    values = np.array(rows, np.float64) if is_right and rows else np.empty([0, 0])
    is_share = (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-3)
    if not rows or not is_right or not is_share:
        raise ValueError(
            message(
                f"{_FLAG} must have a probability for each of the "
                f"{len(label_names)} classes in every row, which sum to 1",
                place=path,
                received="others" if rows else "no rows",
                mend="make it anew with the labels of this data",
            )
        )
    return values


def _other_data(path: str, received: str) -> str:
    return message(
        f"{_FLAG} must be of the texts and labels of this data",
        place=path,
        received=received,
        mend="run the study anew on this data, or give it the flags of the study",
    )
