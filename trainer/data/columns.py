"""Values of further columns, of rows that were read: what --slice_fields names.

    values_of("country", config.data, places.take(rows))    # ["UK", "", "US"]

The data are read once more for each column, as if it were that of --group_field.
"""

from __future__ import annotations

import dataclasses

from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.places import Places
from trainer.data.sources import Load


def values_of(
    name: str, config: DataConfig, places: Places, *, load: Load = sources.load
) -> list[str]:
    """The value of a column in each of the rows; "": it has none.

    Args:
      places: where the n rows were read.
      load: reads the rows.

    Raises:
      ValueError: the data have no such column, or no columns.
    """
    read = load(dataclasses.replace(config, group_field=name))
    wanted = [places.of(row) for row in range(len(places))]
    values = dict.fromkeys(wanted, "")
    for part in read.splits.values():
        groups = part.groups.to_pylist() if part.groups is not None else []
        for row, value in enumerate(groups):
            place = part.places.of(row)
            if place in values:
                values[place] = value or ""
    return [values[place] for place in wanted]
