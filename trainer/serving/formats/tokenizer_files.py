"""The tokenizer as files, for programs that are not this one.

    write(folder, preset, window_length=128, truncation="head")

Beside a model that takes token ids they let a program make those that `TextEncoder`
makes: `tokenizer.json` is read by Hugging Face's `tokenizers` (Rust, Python, and its
ports to phones and browsers), the others by `transformers`. In two cases the ids
differ: text that spells a special token, such as "[SEP]", is that token to these
programs; and truncation to `head_tail` is something they do not have.
"""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any, Mapping

from trainer.config import Truncation
from trainer.modeling.presets import Preset

_logger = logging.getLogger(__name__)

_SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_MAX_CHARACTERS_PER_WORD = 100


def write(
    folder: pathlib.Path, preset: Preset, *, window_length: int, truncation: Truncation
) -> None:
    """Writes vocab.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json.

    Args:
      window_length: longest result in tokens, [CLS] and [SEP] included.
      truncation: `head_tail` is written as `head`, with a warning.
    """
    if truncation == "head_tail":
        _logger.warning(
            "%s: these tokenizers cannot keep head and tail of a text: those of more "
            "than %d tokens are cut at the end there, and get other probabilities",
            folder,
            window_length,
        )
    side = "left" if truncation == "tail" else "right"
    special = {k: v for k, v in _SPECIAL_TOKENS.items() if v in preset.vocabulary}
    (folder / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in preset.vocabulary), encoding="utf-8"
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": preset.lowercase,
            "strip_accents": preset.strip_accents,
            "tokenize_chinese_chars": True,
            "model_max_length": window_length,
            "truncation_side": side,
            **special,
        },
    )
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer.json", _tokenizer(preset, special, window_length, side)
    )


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes it as people can read it."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _tokenizer(
    preset: Preset, special: Mapping[str, str], window_length: int, side: str
) -> dict[str, Any]:
    """As Hugging Face's `tokenizers` writes a BERT's, truncation set."""
    ids = {token: index for index, token in enumerate(preset.vocabulary)}
    first, last = (
        {"SpecialToken": {"id": t, "type_id": 0}} for t in ("[CLS]", "[SEP]")
    )
    text, second = ({"Sequence": {"id": i, "type_id": n}} for n, i in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": {
            "direction": side.capitalize(),
            "max_length": window_length,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in sorted((ids[t], t) for t in special.values())
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": preset.strip_accents,
            "lowercase": preset.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, text, last],
            "pair": [first, text, last, second, _of_second(last)],
            "special_tokens": {
                t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _MAX_CHARACTERS_PER_WORD,
            "vocab": ids,
        },
    }


def _of_second(piece: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A piece of the template as one of the second segment."""
    return {kind: {**facts, "type_id": 1} for kind, facts in piece.items()}
