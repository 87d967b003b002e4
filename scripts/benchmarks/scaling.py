"""What grows with the number of replicas, on paper: formulas, tables, a figure.

    secs = scaling.all_reduce_secs(scaling.gradient_bytes(scaling.BASE), 64, scaling.FAST)
    scaling.efficiency(scaling.compute_secs(512), secs)
    scaling.paper_tables()["efficiency"]    # Markdown

Measuring is left to `measure_scaling.py`, what the numbers mean to docs/scaling.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
from typing import Any, Iterable, Mapping, Sequence

from matplotlib.figure import Figure

# What measure_scaling.py measured, by name: numbers, and a few facts.
Measured = Mapping[str, Any]

BATCH_SIZE = 32
LENGTHS = (128, 512)
REPLICAS = (8, 64, 512)
NUM_REVIEWS = 25_000
SAVE_EVERY_STEPS = 500
FLOAT32_BYTES = 4
# Examples a second by length in tokens. Given: one H100, BERT-base, bfloat16, batch
# 32, a bare step compiled by XLA, measured outside of this program's own commands.
H100_EXAMPLES_PER_SEC = {128: 2511.0, 512: 705.0}
# What arrives of a link's nominal speed: NCCL's developers name about 20% of overhead
# on NVLink (github.com/NVIDIA/nccl-tests/issues/212); assumed of networks as well.
USABLE_FRACTION = 0.8
# NVLink 4 in one direction, bytes a second: half of the 900 GB/s in H100's data sheet.
NVLINK = 450e9
# Seconds a hop of a ring: NCCL's own model (src/graph/tuning.cc, hwLat, Ring, Simple).
NVLINK_HOP_SECS, NETWORK_HOP_SECS = 3.4e-6, 14e-6
# The backward pass computes twice as much as the forward pass.
BACKWARD_FRACTION = 2 / 3
SECS_PER_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """Those of a BERT classifier."""

    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    vocabulary_size: int = 30_522
    num_positions: int = 512
    num_classes: int = 2


BASE = Dimensions(12, 12, 768, 3072)
LARGE = Dimensions(24, 16, 1024, 4096)
SMALL = Dimensions(2, 2, 16, 32, vocabulary_size=64, num_positions=16)


@dataclasses.dataclass(frozen=True)
class Machines:
    """Hosts of eight GPUs that NVLink joins, and what joins the hosts.

    Attributes:
      network: bytes a second into a host, and as many out of it; 0: there is only one.
    """

    name: str
    network: float
    replicas_per_host: int = 8

    def can_have(self, num_replicas: int) -> bool:
        """Whether so many replicas fit."""
        return self.network > 0 or num_replicas <= self.replicas_per_host


def gbit(per_sec: float) -> float:
    """Gbit/s in bytes a second."""
    return per_sec * 1e9 / 8


ONE_HOST = Machines("one host, NVLink", 0.0)
FAST = Machines("hosts of 8, 400 Gbit/s per GPU", 8 * gbit(400))
SLOW = Machines("hosts of 8, 100 Gbit/s per host", gbit(100))


def variable_sizes(bert: Dimensions) -> list[int]:
    """Numbers in each trainable variable: embeddings, layers, pooler, head."""
    width, wide = bert.hidden_dim, bert.intermediate_dim
    rows = (bert.vocabulary_size, bert.num_positions, 2)
    embeddings = [*(count * width for count in rows), width, width]
    attention = [width * width, width] * 4
    feedforward = [width * wide, wide, wide * width, width]
    layer = [*attention, width, width, *feedforward, width, width]
    pooler = [width * width, width]
    head = [width * bert.num_classes, bert.num_classes]
    return [*embeddings, *layer * bert.num_layers, *pooler, *head]


def gradient_bytes(bert: Dimensions) -> int:
    """What each replica adds to the sum at each step, in float32."""
    return FLOAT32_BYTES * sum(variable_sizes(bert))


def ring_bytes(num_bytes: float, num_members: int) -> float:
    """What each member of a ring sends, and receives, to add up so many bytes.

    Source: Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations", who show that no algorithm needs less.
    """
    return 2 * (num_members - 1) / num_members * num_bytes


def ring_secs(
    num_bytes: float, num_members: int, *, bandwidth: float, hop_secs: float
) -> float:
    """How long a ring takes over links of a nominal bandwidth, in bytes a second."""
    hops = 2 * (num_members - 1)
    usable = USABLE_FRACTION * bandwidth
    return ring_bytes(num_bytes, num_members) / usable + hops * hop_secs


def all_reduce_secs(num_bytes: float, num_replicas: int, machines: Machines) -> float:
    """A ring within each host, and rings of all hosts' parts, one after the other.

    Every GPU has an equal part of the sum within its host, and adds up that part with
    its likes in the other hosts, over an equal part of the network.
    """
    num_local = min(num_replicas, machines.replicas_per_host)
    num_hosts = math.ceil(num_replicas / machines.replicas_per_host)
    secs = ring_secs(num_bytes, num_local, bandwidth=NVLINK, hop_secs=NVLINK_HOP_SECS)
    if num_hosts > 1:
        secs += ring_secs(
            num_bytes,
            num_hosts,
            bandwidth=machines.network,
            hop_secs=NETWORK_HOP_SECS,
        )
    return secs


def compute_secs(length: int, *, num_parts: int = 1) -> float:
    """One update of one H100 without others, by the figures given."""
    return num_parts * BATCH_SIZE / H100_EXAMPLES_PER_SEC[length]


def efficiency(
    computing_secs: float, adding_secs: float, *, hidden_secs: float = 0.0
) -> float:
    """The share of the time that goes into computing.

    Args:
      hidden_secs: how much of the adding up could go on beside the computing.
    """
    return computing_secs / (computing_secs + max(0.0, adding_secs - hidden_secs))


def expected_efficiency(
    num_replicas: int, machines: Machines, *, length: int, num_parts: int
) -> float:
    """That of BERT-base by this program, which adds up after the backward pass."""
    adding_secs = all_reduce_secs(gradient_bytes(BASE), num_replicas, machines)
    return efficiency(compute_secs(length, num_parts=num_parts), adding_secs)


def save_interval_secs(write_secs: float, *, secs_between_failures: float) -> float:
    """How often to save so that saving and redoing cost least together.

    Source: Young 1974, "A first order approximation to the optimum checkpoint
    interval".
    """
    return math.sqrt(2 * write_secs * secs_between_failures)


def paper_tables() -> dict[str, str]:
    """Name → Markdown, of what follows from formulas and figures given."""
    return {
        "models": _models_table(),
        "all_reduce": _all_reduce_table(),
        "efficiency": _efficiency_table(),
        "global_batch": _global_batch_table(),
        "beyond": _beyond_table(),
    }


def measured_tables(measured: Measured) -> dict[str, str]:
    """Name → Markdown, of what was measured here and what follows from it."""
    return {
        "measured": _measured_table(measured),
        "input": _input_table(measured),
        "checkpoint": _checkpoint_table(measured),
    }


def _models_table() -> str:
    rows = []
    for name, bert in (("BERT-base", BASE), ("BERT-large", LARGE)):
        sizes = variable_sizes(bert)
        kernels = 4 * bert.hidden_dim**2 + 2 * bert.hidden_dim * bert.intermediate_dim
        rows.append(
            [
                name,
                f"{sum(sizes):,}",
                f"{len(sizes)}",
                f"{gradient_bytes(bert) / 1e6:,.0f} MB",
                f"{3 * gradient_bytes(bert) / 1e6:,.0f} MB",
                f"{bert.num_layers * kernels / 1e6:,.0f} million",
            ]
        )
    return table(
        "model, 2 classes|parameters|variables|gradients of a step|"
        "weights and AdamW's moments|multiplied with each token",
        rows,
    )


def _all_reduce_table() -> str:
    counts = (2, 8, 64)

    def row(name: str, bandwidth: float, hop_secs: float, most: int) -> list[str]:
        cells = [name, f"{USABLE_FRACTION * bandwidth / 1e9:g} GB/s"]
        for bert in (BASE, LARGE):
            for count in counts:
                secs = ring_secs(
                    gradient_bytes(bert), count, bandwidth=bandwidth, hop_secs=hop_secs
                )
                cells.append(f"{secs * 1e3:,.1f} ms" if count <= most else "–")
        return cells

    rows = [
        row(f"{speed} Gbit/s", gbit(speed), NETWORK_HOP_SECS, 64)
        for speed in (10, 25, 100, 400)
    ]
    rows.append(row("NVLink of an H100", NVLINK, NVLINK_HOP_SECS, 8))
    names = [f"{m}, {n} members" for m in ("base", "large") for n in counts]
    return table("|".join(["link of each member", "usable", *names]), rows)


def _efficiency_table() -> str:
    rows = []
    for machines in (ONE_HOST, FAST, SLOW):
        for parts in (1, 4):
            cells = [machines.name, str(parts)]
            for length in LENGTHS:
                for count in REPLICAS:
                    share = "–"
                    if machines.can_have(count):
                        expected = expected_efficiency(
                            count, machines, length=length, num_parts=parts
                        )
                        share = f"{expected:.0%}"
                    cells.append(share)
            rows.append(cells)
    names = [f"{length} tokens, {n}" for length in LENGTHS for n in REPLICAS]
    return table("|".join(["machines", "accumulation", *names]), rows)


def _global_batch_table() -> str:
    rows = []
    for count in (1, *REPLICAS):
        batch = count * BATCH_SIZE
        steps = math.ceil(NUM_REVIEWS / batch)
        rows.append([f"{count}", f"{batch:,}", f"{steps:,}", f"{3 * steps:,}"])
    return table("replicas|global batch|steps an epoch|steps in 3 epochs", rows)


def _beyond_table() -> str:
    num_bytes = gradient_bytes(BASE)
    changes = {
        "as it is": (1, 1.0, 0.0),
        "`--accumulation_steps=4`, 4 times the batch": (4, 1.0, 0.0),
        "gradients sent as bfloat16": (1, 0.5, 0.0),
        "added up during the backward pass": (1, 1.0, BACKWARD_FRACTION),
        "both": (1, 0.5, BACKWARD_FRACTION),
        "both, and `--accumulation_steps=4`": (4, 0.5, BACKWARD_FRACTION),
    }
    rows = []
    for name, (parts, scale, hidden) in changes.items():
        cells = [name]
        for machines in (FAST, SLOW):
            secs = all_reduce_secs(scale * num_bytes, REPLICAS[-1], machines)
            for length in LENGTHS:
                computing = compute_secs(length, num_parts=parts)
                # Of the last part alone: those before it add up nothing.
                can_hide = hidden * compute_secs(length)
                share = efficiency(computing, secs, hidden_secs=can_hide)
                cells.append(f"{share:.0%}")
        rows.append(cells)
    names = [f"{m.name}, {n} tokens" for m in (FAST, SLOW) for n in LENGTHS]
    return table("|".join([f"{REPLICAS[-1]} replicas", *names]), rows)


def _measured_table(measured: Measured) -> str:
    size = measured["checkpoint_bytes"]
    write, restore = (measured[f"checkpoint_{n}_secs"] for n in ("write", "restore"))
    adding = measured["all_reduce_secs"]
    sent = ring_bytes(measured["all_reduce_bytes"], 2)
    rows = [
        ["checkpoint: size", f"{size / 1e6:,.0f} MB"],
        ["checkpoint: write", f"{write:.2f} s, {size / write / 1e9:.2f} GB/s"],
        ["checkpoint: check (read all)", f"{measured['checkpoint_check_secs']:.2f} s"],
        ["checkpoint: check and restore, as at a restart", f"{restore:.2f} s"],
        *(
            [f"tokenization to at most {length} tokens", f"{rate:,.0f} texts/s"]
            for length, rate in measured["tokenized_texts_per_sec"].items()
        ),
        *(
            [
                f"batches of {BATCH_SIZE} at {length} tokens, without a model",
                f"{rate / BATCH_SIZE:,.0f} batches/s, {rate:,.0f} examples/s",
            ]
            for length, rate in measured["fed_examples_per_sec"].items()
        ),
        [
            f"gradients ({measured['all_reduce_bytes'] / 1e6:,.0f} MB) added up by 2 "
            "processes over loopback, ring",
            f"{adding:.2f} s, {sent / adding / 1e9:.2f} GB/s",
        ],
        [
            "one number added up by the same",
            f"{measured['all_reduce_one_number_secs'] * 1e3:.1f} ms",
        ],
        [
            "two workers find each other, after their imports",
            f"{measured['set_up_secs']:.1f} s",
        ],
    ]
    return table("measured here|median", rows)


def _input_table(measured: Measured) -> str:
    rows = []
    for length in LENGTHS:
        needed = H100_EXAMPLES_PER_SEC[length]
        fed = measured["fed_examples_per_sec"][str(length)]
        rows.append(
            [
                f"{length}",
                f"{needed:,.0f}",
                f"{8 * needed:,.0f}",
                f"{fed:,.0f}",
                f"{fed / (8 * needed):.1f}",
            ]
        )
    count = measured["num_processors"]
    return table(
        "tokens|one H100 takes, examples/s|a host of 8 takes|"
        f"made ready here, on {count} cores|made ready / taken by 8",
        rows,
    )


def _checkpoint_table(measured: Measured) -> str:
    write = measured["checkpoint_write_secs"]
    interval = save_interval_secs(write, secs_between_failures=SECS_PER_DAY)
    rows = []
    for length in LENGTHS:
        step = compute_secs(length)
        between = SAVE_EVERY_STEPS * step
        rows.append(
            [
                f"{length}",
                f"{step * 1e3:.1f} ms",
                f"{between:.1f} s",
                f"{write / (write + between):.1%}",
                f"{interval / step:,.0f} steps, {write / (write + interval):.1%}",
            ]
        )
    return table(
        f"tokens|a step of one H100|{SAVE_EVERY_STEPS} steps|share spent writing|"
        "best with one failure a day",
        rows,
    )


def table(header: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the header's cells are separated by bars."""
    names = header.split("|")
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill_document(text: str, tables: Mapping[str, str]) -> str:
    """The text with its tables replaced by those of the same names."""
    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: (
            f"{found[1]}{tables[found[2]]}\n{found[3]}"
            if found[2] in tables
            # Of another script, which fills it.
            else found[0]
        ),
        text,
        flags=re.DOTALL,
    )


def draw(path: pathlib.Path) -> None:
    """Efficiency against the number of replicas, a panel for each length."""
    figure = Figure(figsize=(9.0, 4.1), layout="constrained")
    panels = figure.subplots(1, len(LENGTHS), sharey=True)
    # Okabe and Ito 2008, "Color Universal Design".
    # The first host lies on top of what begins with it.
    colours = {FAST: "#0072B2", SLOW: "#D55E00", ONE_HOST: "#009E73"}
    for axes, length in zip(panels, LENGTHS):
        for machines, colour in colours.items():
            low, high = (1, 8) if machines is ONE_HOST else (8, 512)
            counts = [2**n for n in range(10) if low <= 2**n <= high]
            for parts, line in ((1, "-"), (4, "--")):
                shares = [
                    expected_efficiency(count, machines, length=length, num_parts=parts)
                    for count in counts
                ]
                axes.plot(counts, shares, line, color=colour, marker="o", markersize=3)
        axes.set_title(f"{length} tokens", fontsize=11)
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        axes.minorticks_off()
        axes.set_xlabel("replicas (GPUs)")
        axes.grid(color="#e6e6e6")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0, 1.03)
    panels[0].set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    panels[0].set_ylabel("share of the time spent computing")
    for machines in (ONE_HOST, FAST, SLOW):
        panels[0].plot([], [], color=colours[machines], label=machines.name)
    for parts, line in ((1, "-"), (4, "--")):
        panels[0].plot([], [], line, color="#555555", label=f"accumulation {parts}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def write(
    measured: Any,
    tables: Mapping[str, str],
    *,
    output: pathlib.Path | None,
    document: pathlib.Path | None,
) -> None:
    """Writes what was measured as JSON, and the tables into a page; None: not."""
    if output:
        output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    if document:
        text = document.read_text(encoding="utf-8")
        document.write_text(fill_document(text, tables), encoding="utf-8")
