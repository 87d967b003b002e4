"""The stage that holds the trained model against the one that serves, if asked to.

    champion = challenge.find(run, material)            # before training: it may refuse
    challenged = challenge.run(run, material, after, champion)      # the chief
    challenged.contest, challenged.promotion.status

Both answer the held-out texts of the run that the champion was not trained or chosen
on. What follows for the version that is exported is `Promotion`.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Mapping, Sequence

import numpy as np

from trainer.champion import comparing, number_contest, numbers
from trainer.champion import model as models
from trainer.champion.contest import judge, word_slices
from trainer.config import ServingConfig
from trainer.data.text_rows import TextRows
from trainer.data import label_sets
from trainer.data.duplicates import normalized_digests
from trainer.evaluation import schema
from trainer.evaluation.schema import Contest, NumberContest
from trainer.groups import gates
from trainer.messages import message
from trainer.serving import manifest, versions
from trainer.serving.manifest import HELD, PROMOTED
from trainer.serving.promotion import Promotion
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.storage import Path

# Beyond what float32 and an export's other batches round off, and of no use to anybody.
_SAME_SPREADS = 1e-4
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Challenged:
    """What became of the challenge.

    Attributes:
      challenge: the report's `champion`; None: nothing was compared.
      promotion: what the exported version will be.
    """

    challenge: schema.Challenge | schema.NumberChallenge | None
    promotion: Promotion


def find(run: Run, material: Material) -> Path | None:
    """The version to compare with; None: there is none, or none is asked for.

    Raises:
      ValueError: it cannot be compared with.
    """
    config = run.config.serving
    if not (config.is_challenger and config.export):
        return None
    if material.held_out is None:
        raise ValueError(
            message(
                "a model is compared on held-out texts",
                received=f"--promote={config.promote} without any",
                mend="hold some out (--test_one_in), or set --promote=always",
            )
        )
    if config.champion:
        champion = models.place(config.champion, flag="champion")
    else:
        number = versions.latest(run.resolved.export_folder)
        if number is None:
            _logger.info("no version serves yet: the first one is promoted")
            return None
        champion = run.resolved.export_folder / str(number)
    facts = models.described(champion, flag="champion")
    models.refuse_other_task(facts, run.task.name, of=f"the champion, {champion},")
    models.refuse_other_labels(
        facts["constants"]["labels"],
        material.label_names,
        expected_of=f"the champion, {champion}",
        of="the data",
    )
    manifest.refuse_other_inputs(
        of=f"the champion, {champion},",
        reads=manifest.reads_pairs(facts),
        asked=material.encoder.reads_pairs,
    )
    return champion


def run(
    run: Run,
    material: Material,
    after: After,
    champion: Path | None,
    *,
    columns: Mapping[str, Sequence[str]],
    groups: schema.Groups | None,
) -> Challenged:
    """Compares, and says whether the export is to serve.

    Args:
      columns: of --slice_fields, the value of each held-out text.
      groups: what the model is on groups of texts, which a gate may go by.

    Raises:
      ValueError: the champion is damaged, or no text is left to compare on.
    """
    config = run.config.serving
    served = versions.latest(run.resolved.export_folder)
    if champion is None:
        return Challenged(None, gated(_alone(config, served), groups, config))
    _logger.info("asking the champion, %s", champion)
    model = models.load(str(champion), flag="champion")
    split = material.held_out
    assert split is not None  # `find` has seen to it.
    rows = material.splits[split].rows
    texts = material.texts.pool.texts
    is_fresh = comparing.unseen(normalized_digests(TextRows(texts, rows)), [model])
    if not is_fresh.any():
        raise ValueError(
            message(
                f"there must be {split} texts that the champion has not seen",
                received=f"{len(rows):,}, all of which {champion} was trained or"
                " chosen on",
                mend="give --test_dataset, with texts that were held out of both",
            )
        )
    fresh = list(TextRows(texts, rows[is_fresh]))
    answered = model.answers(
        fresh, batch_size=run.resolved.eval_batch_size, description="champion"
    )
    contest = _judged(
        run,
        after.labels[split][is_fresh],
        after.decision.labels(after.logits[split])[is_fresh],
        comparing.in_names(answered.labels, model, material.label_names),
        margin=config.promote_margin,
        num_left_out=int((~is_fresh).sum()),
        slices=_slices(material, rows, is_fresh, columns),
        min_slice=config.min_slice,
    )
    return Challenged(
        _facts(contest, champion, split),
        gated(_promotion(config, contest, served), groups, config),
    )


def _judged(
    run: Run,
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    **facts: Any,
) -> Contest | NumberContest:
    """By accuracy, or of numbers by distance.

    Args:
      labels: of n texts; likewise what each model gave, under the same names.
      facts: what does not depend on these.
    """
    if run.task.scale is None:
        return judge(labels, challenger, champion, **facts)
    is_same = _is_same(run, challenger, champion)
    return number_contest.judge(labels, challenger, champion, is_same=is_same, **facts)


def _is_same(run: Run, challenger: np.ndarray, champion: np.ndarray) -> bool:
    """Whether no two values are farther apart than rounding explains.

    One of them comes from memory, the other from an export: the same weights would be
    told apart by rounding, and perhaps called better.
    """
    assert run.task.scale is not None  # Of a task of numbers.
    farthest = float(np.abs(challenger - champion).max())
    return farthest <= _SAME_SPREADS * run.task.scale.spread


def _facts(
    contest: Contest | NumberContest, champion: Path, split: str
) -> schema.Challenge | schema.NumberChallenge:
    """The report's `champion`, logged."""
    is_number = isinstance(contest, NumberContest)
    sentence = (
        numbers.sentence(contest)
        if isinstance(contest, NumberContest)
        else comparing.sentence(contest)
    )
    _logger.info("%s", sentence)
    content = {
        **dataclasses.asdict(contest),
        "path": str(champion),
        "sentence": sentence,
        "split": split,
    }
    if is_number:
        return schema.from_mapping(schema.NumberChallenge, content)
    return schema.from_mapping(schema.Challenge, content)


def gated(
    promotion: Promotion, groups: schema.Groups | None, config: ServingConfig
) -> Promotion:
    """Held by name where the model breaks --max_slice_gap or --max_flips."""
    broken = [] if groups is None else gates.broken(groups, config)
    if not broken or promotion.status == HELD:
        return promotion
    reason = f"{promotion.reason}, but {'; '.join(broken)}"
    return dataclasses.replace(promotion, status=HELD, reason=reason)


def _alone(config: ServingConfig, served: int | None) -> Promotion:
    """Without a comparison."""
    if config.promote == "never":
        return Promotion(HELD, "--promote=never", served)
    if config.promote == "always":
        return Promotion(PROMOTED, "--promote=always", None, is_conditional=False)
    return Promotion(
        PROMOTED, "the first version: there was none to compare with", None
    )


def _promotion(
    config: ServingConfig, contest: Contest | NumberContest, served: int | None
) -> Promotion:
    verdict = contest.verdict
    if config.promote in ("always", "never"):
        alone = _alone(config, served)
        return dataclasses.replace(alone, verdict=comparing.public(contest))
    enough = ("better",) if config.promote == "better" else ("better", "not_worse")
    reason = f"--promote={config.promote}, and the verdict is {verdict}"
    status = PROMOTED if verdict in enough else HELD
    if contest.blocking and status == PROMOTED:
        status = HELD
        reason += f", but it is {_first_loss(contest)}"
    return Promotion(status, reason, served, verdict=comparing.public(contest))


def _first_loss(contest: Contest | NumberContest) -> str:
    """The slice that holds the challenger back and loses most, in words."""
    if isinstance(contest, NumberContest):
        return numbers.slice_sentence(contest.blocking[0])
    return comparing.slice_sentence(contest.blocking[0])


def _slices(
    material: Material,
    rows: np.ndarray,
    is_fresh: np.ndarray,
    columns: Mapping[str, Sequence[str]],
) -> dict[str, Sequence[str]]:
    """By name, the value of each fresh text of the rows."""
    pool, fresh = material.texts.pool, rows[is_fresh]
    return {
        **_by_label(material, pool.labels[fresh]),
        "words": word_slices(pool.texts.take(fresh).to_pylist()),
        **_groups(material, fresh),
        **{
            name: [value for value, is_asked in zip(values, is_fresh) if is_asked]
            for name, values in columns.items()
        },
    }


def _by_label(material: Material, labels: np.ndarray) -> dict[str, Sequence[str]]:
    """The labels in words, or of numbers their ranges."""
    if np.issubdtype(labels.dtype, np.floating):
        return {"number": number_contest.ranges(labels)}
    names = material.label_names
    return {"label": [label_sets.name_of(each, names) for each in labels]}


def _groups(material: Material, rows: np.ndarray) -> dict[str, Sequence[str]]:
    """The groups of --group_field, as numbers: their names are not kept."""
    numbers = material.texts.pool.group_numbers
    if numbers is None:
        return {}
    return {"group": ["" if each < 0 else str(each) for each in numbers[rows]]}
