"""The benchmark's contestants that run on PyTorch, in an environment of their own.

    peers_env/bin/python -m scripts.benchmarks.benchmark_pytorch \
        --contestant=train.torch_dynamic --spec=spec.json

`benchmark.py` writes the spec and reads the last line printed, JSON. Needs torch and
transformers, and nothing of this program. Training is a plain loop that does the work
of Hugging Face's Trainer with its defaults (AdamW, fused, without decay of biases and
LayerNorm; linear schedule; clipping to a norm of 1; the model's own dropout; batches
padded by a collator) and leaves out the overhead of Trainer itself and of its data
loader, which is in its favour. Float32 on a CPU; bfloat16 autocast on a GPU.
"""

from __future__ import annotations

import functools
import itertools
import time
from typing import Any, Callable, Sequence

from scripts.benchmarks import benchmark_contestant
import numpy as np
import tokenizers
import torch
import transformers
from scripts.benchmarks.benchmark_contestant import Batch, Found, Spec
from transformers.trainer_pt_utils import get_length_grouped_indices

_ROWS_PER_CALL = 1000


def tokenize(spec: Spec) -> Found:
    """Token ids of many texts, with all cores."""
    texts, _ = benchmark_contestant.read_rows(spec["texts"])
    tokenizer = _rust_tokenizer(spec)
    start = time.perf_counter()
    _encode(tokenizer, texts)
    return {"rows_per_sec": len(texts) / (time.perf_counter() - start)}


def prepare_data(spec: Spec) -> Found:
    """From a file to token ids."""
    start = time.perf_counter()
    texts, _ = benchmark_contestant.read_rows(spec["texts"])
    _encode(_rust_tokenizer(spec), texts)
    secs = time.perf_counter() - start
    return {"secs": secs, "rows_per_sec": len(texts) / secs}


def train(spec: Spec, *, batching: str, is_compiled: bool) -> Found:
    """One epoch over the sample, after every shape has been seen."""
    texts, labels = benchmark_contestant.read_rows(spec["sample"])
    token_ids = _encode(_rust_tokenizer(spec), texts)
    plan = _BATCHINGS[batching](np.array([len(ids) for ids in token_ids]), spec)
    warm_up = _warm_up_batches(plan, every_shape=is_compiled or _is_gpu())
    step = _make_step(spec, len(warm_up) + len(plan), is_compiled)

    def run(batch: Batch) -> None:
        rows, length = batch
        padded, mask = np.zeros((2, len(rows), length), np.int64)
        for position, row in enumerate(rows):
            padded[position, : len(token_ids[row])] = token_ids[row]
            mask[position, : len(token_ids[row])] = 1
        step(padded, mask, labels[rows])

    run(warm_up[0])
    _finish_work()
    secs_to_first_step = time.time() - spec["started_at"]
    for batch in warm_up[1:]:
        run(batch)
    _finish_work()
    start = time.perf_counter()
    for batch in plan:
        run(batch)
    _finish_work()
    secs = time.perf_counter() - start
    return {
        "examples_per_sec": len(texts) / secs,
        "secs_to_first_step": secs_to_first_step,
        "padded_lengths": sorted({length for _, length in plan}),
    }


def _make_step(
    spec: Spec, num_steps: int, is_compiled: bool
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    device = torch.device("cuda" if _is_gpu() else "cpu")
    model = _load_model(spec).to(device).train()
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=5e-5, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, num_warmup_steps=num_steps // 10, num_training_steps=num_steps
    )
    forward = torch.compile(model, dynamic=False) if is_compiled else model

    def to_device(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return (
            tensor.pin_memory().to(device, non_blocking=True) if _is_gpu() else tensor
        )

    def step(token_ids: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=_is_gpu()):
            loss = forward(
                input_ids=to_device(token_ids),
                attention_mask=to_device(mask),
                labels=to_device(labels),
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    return step


def _parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """All parameters, those that decay apart."""
    groups: dict[float, list[torch.nn.Parameter]] = {0.0: [], 0.01: []}
    for name, parameter in model.named_parameters():
        is_exempt = name.endswith("bias") or "LayerNorm" in name
        groups[0.0 if is_exempt else 0.01].append(parameter)
    return [{"params": each, "weight_decay": decay} for decay, each in groups.items()]


def _warm_up_batches(plan: Sequence[Batch], *, every_shape: bool) -> list[Batch]:
    """A batch of each length, the longest first; or of the longest alone."""
    of_length = {length: (rows, length) for rows, length in plan}
    found = [of_length[length] for length in sorted(of_length, reverse=True)]
    return found if every_shape else found[:1]


def _random_rows(lengths: np.ndarray, spec: Spec) -> np.ndarray:
    """The batches' rows: int64 [num_batches, batch_size]."""
    order = np.random.default_rng(0).permutation(len(lengths))
    return order.reshape(-1, spec["batch_size"])


def _padded(lengths: np.ndarray, spec: Spec) -> list[Batch]:
    return [(rows, spec["max_length"]) for rows in _random_rows(lengths, spec)]


def _dynamic(lengths: np.ndarray, spec: Spec) -> list[Batch]:
    return [(rows, int(lengths[rows].max())) for rows in _random_rows(lengths, spec)]


def _grouped(lengths: np.ndarray, spec: Spec) -> list[Batch]:
    order = get_length_grouped_indices(
        lengths.tolist(), spec["batch_size"], generator=torch.Generator().manual_seed(0)
    )
    batches = np.array(order).reshape(-1, spec["batch_size"])
    return [(rows, int(lengths[rows].max())) for rows in batches]


def _bucketed(lengths: np.ndarray, spec: Spec) -> list[Batch]:
    return benchmark_contestant.bucketed_batches(
        lengths, spec["bucket_lengths"], batch_size=spec["batch_size"]
    )


_BATCHINGS = {
    "padded": _padded,
    "dynamic": _dynamic,
    "grouped": _grouped,
    "bucketed": _bucketed,
}


def predict(spec: Spec) -> Found:
    """A text at a time, then batches padded to their longest text; float32."""
    # As TensorFlow does by default.
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if _is_gpu() else "cpu")
    model = _load_model(spec).to(device).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec["preset"])
    texts, _ = benchmark_contestant.read_rows(spec["texts"])

    def probabilities(batch: list[str]) -> np.ndarray:
        inputs = tokenizer(
            batch,
            truncation=True,
            max_length=spec["max_length"],
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = model(**inputs.to(device)).logits
        found: np.ndarray = logits.softmax(-1).cpu().numpy()
        return found

    return benchmark_contestant.time_predictions(probabilities, texts, spec)


def _load_model(spec: Spec) -> torch.nn.Module:
    transformers.logging.set_verbosity_error()
    model: torch.nn.Module = (
        transformers.AutoModelForSequenceClassification.from_pretrained(
            spec["preset"], num_labels=len(spec["label_names"])
        )
    )
    return model


def _rust_tokenizer(spec: Spec) -> tokenizers.Tokenizer:
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec["preset"])
    rust: tokenizers.Tokenizer = tokenizer.backend_tokenizer
    rust.no_padding()
    rust.enable_truncation(spec["max_length"])
    return rust


def _encode(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of all texts; the variant without offsets is the fastest there is."""
    blocks = (
        tokenizer.encode_batch_fast(texts[first : first + _ROWS_PER_CALL])
        for first in range(0, len(texts), _ROWS_PER_CALL)
    )
    return [encoding.ids for encoding in itertools.chain.from_iterable(blocks)]


def _is_gpu() -> bool:
    return bool(torch.cuda.is_available())


def _finish_work() -> None:
    if _is_gpu():
        torch.cuda.synchronize()


CONTESTANTS: dict[str, Callable[[Spec], Found]] = {
    "tokenize.hugging_face": tokenize,
    "train.torch_padded": functools.partial(
        train, batching="padded", is_compiled=False
    ),
    "train.torch_dynamic": functools.partial(
        train, batching="dynamic", is_compiled=False
    ),
    "train.torch_grouped": functools.partial(
        train, batching="grouped", is_compiled=False
    ),
    "train.torch_compiled_padded": functools.partial(
        train, batching="padded", is_compiled=True
    ),
    "train.torch_bucketed": functools.partial(
        train, batching="bucketed", is_compiled=False
    ),
    "train.torch_compiled_bucketed": functools.partial(
        train, batching="bucketed", is_compiled=True
    ),
    "predict.hugging_face": predict,
    "scale.hugging_face": prepare_data,
}


def _device_facts() -> Found:
    if not _is_gpu():
        return {"device": "cpu"}
    peak = torch.cuda.max_memory_allocated()
    return {"device": "gpu", "peak_device_memory_bytes": peak}


if __name__ == "__main__":
    benchmark_contestant.main(CONTESTANTS, _device_facts)
