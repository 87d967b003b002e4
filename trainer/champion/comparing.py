"""From two exported models and labelled texts to what `trainer.compare` says.

    result = compare(config)
    result.to_json(), summary(result)

Both answer every text of --dataset that neither was trained or chosen on, whatever
split a run would put it in. Which texts those are, each model tells by hashes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer.champion import model as models
from trainer.champion import number_contest, numbers
from trainer.champion import side as sides_told
from trainer.champion.contest import judge, word_slices
from trainer.champion.model import Model
from trainer.champion.numbers import NumberDifference, NumbersCompared
from trainer.champion.side import Side
from trainer.config import CompareConfig, DataConfig
from trainer.data import columns, draws, label_sets, pairs, places, sources
from trainer.data.duplicates import content_digests, normalized_digests
from trainer.data.text_dataset import TextDataset
from trainer.evaluation.schema import Contest, NumberContest, SliceContest
from trainer.evaluation.worth import signed_points
from trainer.messages import filled, message
from trainer.serving import manifest, seen_texts

_MAX_LINES = 5
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A text on which exactly one of the two is right."""

    text: str
    file: str
    line: int
    label: str
    champion: str
    challenger: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """What --output holds; the keys of the contest stand beside the others.

    Attributes:
      num_unseen: texts that neither has seen, of which --num_eval_examples may be drawn.
    """

    contest: Contest
    champion: Side
    challenger: Side
    dataset: str
    num_unseen: int
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Indented; `champion` and `challenger` are the sides with their accuracy."""
        contest = dataclasses.asdict(self.contest)
        sides = {
            name: {
                **dataclasses.asdict(getattr(self, name)),
                "accuracy": contest.pop(name),
                "interval_95": contest.pop(f"{name}_interval_95"),
            }
            for name in ("champion", "challenger")
        }
        content = {
            **contest,
            **sides,
            "dataset": self.dataset,
            "num_unseen": self.num_unseen,
            "warnings": self.warnings,
            "differences": [dataclasses.asdict(each) for each in self.differences],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@dataclasses.dataclass(frozen=True)
class _Asked:
    """Both models' answers to the texts that neither knows.

    Attributes:
      sides: champion and challenger.
      fresh: the texts that both answered, with their labels.
      texts: the same texts.
      answered: by each side.
      num_unseen: texts that neither has seen.
      num_left_out: all others.
    """

    sides: tuple[Model, Model]
    fresh: TextDataset
    texts: list[str]
    answered: tuple[models.Answers, models.Answers]
    num_unseen: int
    num_left_out: int


def compare(config: CompareConfig) -> Compared:
    """Has both models answer, and judges.

    Raises:
      ValueError: a model, the data, or the two together cannot be used.
    """
    asked = _asked(config)
    champion, challenger = asked.sides
    given = [
        in_names(answers.labels, side, asked.fresh.label_names)
        for answers, side in zip(asked.answered, asked.sides)
    ]
    contest = judge(
        asked.fresh.labels,
        given[1],
        given[0],
        margin=config.promote_margin,
        is_same=_is_same(asked.answered, champion, challenger),
        num_left_out=asked.num_left_out,
        slices=_slices(config, asked.fresh, asked.texts),
        min_slice=config.min_slice,
    )
    latencies = models.latencies_ms(asked.sides, asked.texts)
    return Compared(
        contest=contest,
        champion=sides_told.of(champion, latencies[0]),
        challenger=sides_told.of(challenger, latencies[1]),
        dataset=config.data.dataset,
        num_unseen=asked.num_unseen,
        differences=tuple(_differences(asked.fresh, asked.texts, *given)),
        warnings=tuple(_warnings(champion, challenger, contest)),
    )


def compare_numbers(config: CompareConfig) -> NumbersCompared:
    """The same of models of numbers.

    Raises:
      ValueError: a model, the data, or the two together cannot be used.
    """
    asked = _asked(config)
    labels = asked.fresh.labels
    champion, challenger = (answers.labels for answers in asked.answered)
    contest = number_contest.judge(
        labels,
        challenger,
        champion,
        margin=config.promote_margin,
        is_same=np.array_equal(challenger, champion),
        num_left_out=asked.num_left_out,
        slices=_slices(config, asked.fresh, asked.texts),
        min_slice=config.min_slice,
    )
    latencies = models.latencies_ms(asked.sides, asked.texts)
    worse = [numbers.slice_sentence(each) for each in contest.slices if each.is_worse]
    return NumbersCompared(
        contest=contest,
        champion=sides_told.of(asked.sides[0], latencies[0]),
        challenger=sides_told.of(asked.sides[1], latencies[1]),
        dataset=config.data.dataset,
        num_unseen=asked.num_unseen,
        differences=tuple(_farthest_apart(asked, champion, challenger)),
        warnings=(*_unknowing(*asked.sides), *worse),
    )


def _farthest_apart(
    asked: _Asked, champion: np.ndarray, challenger: np.ndarray
) -> Iterator[NumberDifference]:
    """The texts on which one is nearer by most, of each side as many."""
    labels = asked.fresh.labels
    gains = np.abs(champion - labels) - np.abs(challenger - labels)
    order = np.argsort(-np.abs(gains), kind="stable")
    for is_of_side in (gains[order] > 0, gains[order] < 0):
        for row in order[is_of_side][: numbers.MAX_DIFFERENCES].tolist():
            file, line = asked.fresh.places.of(row)
            yield NumberDifference(
                text=pairs.shown(asked.texts[row]),
                file=file,
                line=line,
                label=float(labels[row]),
                champion=float(champion[row]),
                challenger=float(challenger[row]),
            )


def _asked(config: CompareConfig) -> _Asked:
    locations = {"champion": config.champion, "challenger": config.challenger}
    data = read_texts(config.data, _label_names(locations, task=config.data.task))
    champion, challenger = sides = [
        models.load(location, flag=flag, gpu_memory_mib=config.gpu_memory_mib)
        for flag, location in locations.items()
    ]
    for side, (flag, location) in zip(sides, locations.items()):
        manifest.refuse_other_inputs(
            of=f"--{flag}={location}",
            reads=manifest.reads_pairs(side.facts),
            asked=bool(config.data.second_text_field),
        )
    digests = normalized_digests(data.texts)
    is_fresh = unseen(digests, sides)
    if not is_fresh.any():
        raise ValueError(
            message(
                "--dataset must have texts that neither model was trained or chosen on",
                received=f"{len(data):,} texts, all of which one of them was",
                mend="give texts that were held out of both, such as a test set",
            )
        )
    is_asked = _drawn(data, digests, is_fresh, limit=config.data.num_eval_examples)
    fresh = data.filter(is_asked)
    texts = fresh.texts.to_pylist()
    first, second = (
        side.answers(texts, batch_size=config.batch_size, description=flag)
        for flag, side in zip(locations, sides)
    )
    return _Asked(
        sides=(champion, challenger),
        fresh=fresh,
        texts=texts,
        answered=(first, second),
        num_unseen=int(is_fresh.sum()),
        num_left_out=int((~is_fresh).sum()),
    )


def _label_names(locations: Mapping[str, str], *, task: str) -> Sequence[str]:
    """The labels of both, named before the data is read and TensorFlow started."""
    names = []
    for flag, location in locations.items():
        facts = models.described(models.place(location, flag=flag), flag=flag)
        models.refuse_other_task(facts, task, of=f"--{flag}={location}")
        names.append(facts["constants"]["labels"])
    models.refuse_other_labels(
        *names,
        expected_of=f"--champion={locations['champion']}",
        of=f"--challenger={locations['challenger']}",
    )
    first: Sequence[str] = names[0]
    return first


def _differences(
    data: TextDataset,
    texts: Sequence[str],
    champion: np.ndarray,
    challenger: np.ndarray,
) -> Iterator[Difference]:
    """The texts on which exactly one is right."""
    names, labels = data.label_names, data.labels
    is_right = [label_sets.is_right(labels, each) for each in (champion, challenger)]
    is_one_right = is_right[0] != is_right[1]
    for row in np.flatnonzero(is_one_right).tolist():
        file, line = data.places.of(row)
        yield Difference(
            text=pairs.shown(texts[row]),
            file=file,
            line=line,
            label=label_sets.name_of(labels[row], names),
            champion=label_sets.name_of(champion[row], names),
            challenger=label_sets.name_of(challenger[row], names),
        )


def read_texts(config: DataConfig, names: Sequence[str]) -> TextDataset:
    """All labelled texts of a data set, whatever their split.

    Args:
      names: of the models' labels, unless --label_names says what the data's mean.
    """
    # Numbers have no names that the data could be read by.
    is_number = config.task == "regression"
    wanted = () if is_number else config.label_names or tuple(names)
    read = sources.load(dataclasses.replace(config, label_names=wanted))
    models.refuse_other_labels(
        names, read.label_names, expected_of="the models", of="--dataset"
    )
    parts = list(read.splits.values())
    return TextDataset(
        texts=pa.chunked_array(
            [chunk for part in parts for chunk in part.texts.chunks], pa.large_string()
        ),
        labels=np.concatenate([part.labels for part in parts]),
        label_names=read.label_names,
        places=places.joined([part.places for part in parts]),
    )


def unseen(digests: np.ndarray, compared: Sequence[Model]) -> np.ndarray:
    """bool [n], whether no model was trained or chosen on a text.

    Args:
      digests: uint8 [n, 32], of the normal forms.
    """
    is_fresh = np.ones(len(digests), bool)
    for model in compared:
        if model.seen is not None:
            is_fresh &= ~seen_texts.is_seen(model.seen, digests)
    return is_fresh


def _slices(
    config: CompareConfig, fresh: TextDataset, texts: Sequence[str]
) -> dict[str, Sequence[str]]:
    """By name, the value of each text."""
    return {
        **_by_label(config, fresh),
        "words": word_slices(texts),
        **{
            name: columns.values_of(name, config.data, fresh.places)
            for name in config.slice_fields
        },
    }


def _by_label(config: CompareConfig, fresh: TextDataset) -> dict[str, Sequence[str]]:
    if config.data.task == "regression":
        return {"number": number_contest.ranges(fresh.labels)}
    names = fresh.label_names
    return {"label": [label_sets.name_of(each, names) for each in fresh.labels]}


def _drawn(
    data: TextDataset, digests: np.ndarray, is_fresh: np.ndarray, *, limit: int
) -> np.ndarray:
    """bool [n], the fresh texts, or as many of them as are to be asked about.

    Args:
      limit: --num_eval_examples. 0: all.
    """
    if not 0 < limit < is_fresh.sum():
        return is_fresh
    rows = np.flatnonzero(is_fresh)
    drawn = draws.draw(
        data.labels[rows],
        digests[rows],
        content_digests(data.texts)[rows],
        label_names=data.label_names,
        limit=limit,
        seed=0,
    )
    is_drawn = np.zeros(len(data), bool)
    is_drawn[rows[drawn]] = True
    return is_drawn


def in_names(answers: np.ndarray, model: Model, wanted: Sequence[str]) -> np.ndarray:
    """A model's answers by other names of the same labels; numbers as they are."""
    if model.task == "regression":
        return answers
    return renumbered(answers, model.label_names, wanted)


def renumbered(
    answers: np.ndarray, names: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    """Labels by other names of the same: positions, or columns."""
    numbers = np.array([list(wanted).index(name) for name in names], np.int64)
    if answers.ndim == 1:
        return np.asarray(numbers[answers])
    result = np.empty_like(answers)
    result[:, numbers] = answers
    return result


def _is_same(
    answered: Sequence[models.Answers], champion: Model, challenger: Model
) -> bool:
    first, second = answered
    return champion.label_names == challenger.label_names and bool(
        np.array_equal(first.probabilities, second.probabilities)
        and np.array_equal(first.labels, second.labels)
    )


def _warnings(champion: Model, challenger: Model, contest: Contest) -> list[str]:
    worse = [slice_sentence(each) for each in contest.slices if each.is_worse]
    return _unknowing(champion, challenger) + worse


def _unknowing(champion: Model, challenger: Model) -> list[str]:
    return [
        f"{model.folder} does not tell which texts it was trained on (an export of an"
        " older version): texts that it knows may be among those compared on"
        for model in (champion, challenger)
        if model.seen is None
    ]


def slice_sentence(each: SliceContest) -> str:
    """A loss on a slice, in words."""
    low, high = each.interval_95
    end = "" if each.blocks else "; too few texts to hold it back"
    return (
        f"worse on the {each.num_texts:,} texts of {each.slice} {each.value}: "
        f"{signed_points(each.difference)} points ({signed_points(low)} to"
        f" {signed_points(high)}), p {each.p_holm:.2g} by Holm{end}"
    )


def sentence(contest: Contest) -> str:
    """The verdict, in words with a full stop."""
    low, high = contest.interval_95
    numbers = (
        f"{contest.challenger:.1%} right, the champion {contest.champion:.1%}, on"
        f" {contest.num_texts:,} texts: {signed_points(contest.difference)} points"
        f" ({signed_points(low)} to {signed_points(high)})"
    )
    margin = f"{100 * contest.margin:g} points"
    said = {
        "better": "The challenger is better",
        "not_worse": f"The challenger is not worse by {margin} or more",
        "worse": "The challenger is worse",
        "undecided": "The texts cannot tell whether the challenger is worse",
    }[contest.verdict]
    end = ""
    if contest.texts_to_settle:
        end = f"; about {contest.texts_to_settle:,} texts would"
    return f"{said}: {numbers}{end}."


def summary(result: Compared) -> str:
    """The result for people, in lines of at most 100 columns."""
    contest = result.contest
    sides = [
        ("Champion", result.champion, contest.champion),
        ("Challenger", result.challenger, contest.challenger),
    ]
    intervals = (contest.champion_interval_95, contest.challenger_interval_95)
    lines = [filled(sentence(contest)), ""]
    for (name, side, accuracy), (low, high) in zip(sides, intervals):
        size = f"{side.bytes / 1e6:.1f} MB" if side.bytes else "size unknown"
        lines.append(
            f"{name:<12}{accuracy:.1%} ({low:.1%} to {high:.1%}), {size},"
            f" {side.latency_ms:.0f} ms a text, {side.status}: {side.path}"
        )
    left_out = contest.num_left_out
    drawn = ""
    if contest.num_texts < result.num_unseen:
        drawn = f", drawn of {result.num_unseen:,} that neither has seen"
    lines += [
        f"{'Texts':<12}{contest.num_texts:,}{drawn}",
        f"{'Left out':<12}{left_out:,} texts that one of them was trained or chosen on",
        f"{'Differ':<12}on {contest.num_discordant:,} texts one alone is right: the"
        f" challenger on {contest.num_only_challenger_right:,}, the champion on"
        f" {contest.num_only_champion_right:,}; McNemar's p {contest.mcnemar_p:.2g}",
    ]
    if result.warnings:
        lines += ["", "Doubts"]
        for warning in result.warnings[:_MAX_LINES]:
            lines.append(filled(warning, first="  - ", rest="    "))
        if len(result.warnings) > _MAX_LINES:
            lines.append(f"  and {len(result.warnings) - _MAX_LINES} more in --output")
    return "\n".join(lines) + "\n"


def public(contest: Contest | NumberContest) -> dict[str, Any]:
    """Of a contest what a manifest and a history hold: no text, no column's value."""
    content = dataclasses.asdict(contest)
    content["num_blocking_slices"] = len(contest.blocking)
    del content["slices"]
    return content
