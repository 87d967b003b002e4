"""What a user should know before trusting a result, each with what to do about it.

    doubts = [*of_rows(source_facts), *of_splits(facts), *of_words(words)]
    doubts[0].kind, doubts[0].message

One list, computed once: the log, the closing table, the report, the model card and
`trainer.audit` show the same sentences. The functions take what was counted elsewhere,
so that each rule, with its limit, stands here and nowhere else.
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping, Sequence

from trainer.data.audit.findings import Findings
from trainer.data.revealing import RevealingWord
from trainer.evaluation import group_sentences
from trainer.evaluation.points import points
from trainer.evaluation.schema import (
    BaselineScores,
    Counterfactual,
    Doubt,
    Groups,
    Kept,
    SplitEvaluation,
    ReweighedCell,
)

NO_BETTER_THAN_COMMONEST = "no_better_than_commonest"
# A class with fewer training texts is learnt by chance.
_FEW_TEXTS_OF_CLASS = 20
# The 95% interval of an accuracy near 85% reaches 7 points to either side with 100.
_FEW_HELD_OUT = 100
# The commonest class has so many times the texts of the rarest.
_UNEVEN = 5
_MANY_DUPLICATES = 0.05
_MANY_UNKNOWN = 0.05
_MANY_CUT = 0.2
# AdamW's averages and the warmup need some; the guide's run has 375.
_FEW_STEPS = 50
# Of short texts a language detector takes about one in a hundred for another's.
_MANY_IN_OTHER_LANGUAGES = 0.02
_MAX_NAMED = 5
# Times the mean, from which on what is learnt hangs on a few texts.
_HEAVY = 10.0


def of_rows(sources: Mapping[str, Any]) -> Iterator[Doubt]:
    """Of the rows as they were read. sources: `Sources.facts`."""
    for sentence in sources["warnings"]:
        yield Doubt(kind="rows", message=sentence)
    for name, split in sources["splits"].items():
        count = split.get("num_placeholder_texts", 0)
        if count:
            places = ", ".join(split["placeholder_texts"][:3])
            yield Doubt(
                kind="placeholder_texts",
                message=f"{_counted(count, 'text')} of the {name} set without a text "
                f"but a word for none, like nan or [deleted] ({places}): remove them",
            )


def of_splits(
    facts: Mapping[str, Any], *, has_one_label: bool = True, has_classes: bool = True
) -> Iterator[Doubt]:
    """Of the division of the texts.

    Args:
      facts: `splits.facts`.
      has_one_label: whether each text has one label, not any number.
      has_classes: whether texts have labels, not numbers.
    """
    yield from _contradictions(facts)
    yield from _overlaps(facts)
    if has_classes:
        yield from _classes(facts["splits"], has_one_label=has_one_label)
    yield from _small_splits(facts["splits"])


def _contradictions(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    count = facts["num_contradicting_texts"]
    if count:
        yield Doubt(
            kind="contradicting_labels",
            message=f"{_counted(count, 'text')} in the data with more than one label: "
            "check which is right",
        )
    for name, split in facts["splits"].items():
        if split["num_duplicates"] > _MANY_DUPLICATES * split["num_examples"]:
            yield Doubt(
                kind="duplicates",
                message=f"{split['num_duplicates']} of the {split['num_examples']} "
                f"{name} texts are copies of others: they count several times; "
                "remove them if that is not meant",
            )


def _overlaps(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    for one, other in (
        ("validation", "train"),
        ("test", "train"),
        ("test", "validation"),
    ):
        for kind in ("text", "group"):
            count = facts.get(f"num_{one}_{kind}s_in_{other}")
            if count:
                yield Doubt(
                    kind="overlap",
                    message=f"{_counted(count, kind)} of the {one} split also in the "
                    f"{_split_in_words(other)} split: the {one} metrics are better "
                    f"than on new {kind}s; remove them from one of the two",
                )


def _split_in_words(name: str) -> str:
    return "training" if name == "train" else name


def _classes(splits: Mapping[str, Any], *, has_one_label: bool) -> Iterator[Doubt]:
    for name, split in splits.items():
        absent = [label for label, count in split["class_counts"].items() if not count]
        if absent and split["num_examples"]:
            yield Doubt(
                kind="absent_class",
                message=f"the {name} split has no text labelled {_named(absent)}: "
                "nothing is "
                + ("learnt" if name == "train" else "measured")
                + " of it; add texts",
            )
    counts = splits["train"]["class_counts"]
    few = {
        label: count
        for label, count in counts.items()
        if 0 < count < _FEW_TEXTS_OF_CLASS
    }
    if few:
        named = _named([f"{label} ({count})" for label, count in few.items()])
        yield Doubt(
            kind="few_texts_of_class",
            message=f"fewer than {_FEW_TEXTS_OF_CLASS} training texts are labelled "
            f"{named}: the model can hardly learn it; add texts, or join classes with "
            "--label_names=RAW=NAME",
        )
    present = [count for count in counts.values() if count]
    if max(present) >= _UNEVEN * min(present):
        commonest = max(counts, key=lambda label: counts[label])
        share = counts[commonest] / splits["train"]["num_examples"]
        yield Doubt(
            kind="imbalance",
            message=f"{share:.0%} of the training texts are labelled {commonest}: look "
            "at the F1 of each class rather than at the accuracy; "
            + (
                "--class_weights=balanced makes rare classes count more"
                if has_one_label
                else "--decision_metric=f1_macro fits a threshold to each"
            ),
        )


def _small_splits(splits: Mapping[str, Any]) -> Iterator[Doubt]:
    for name, use in (
        ("validation", "to choose weights, calibrate or set thresholds by"),
        ("test", "to judge the model by"),
    ):
        count = splits[name]["num_examples"] if name in splits else 0
        if count < _FEW_HELD_OUT:
            received = f"only {_counted(count, 'text')}" if count else "no texts"
            yield Doubt(
                kind=f"few_{name}_texts",
                message=f"{received} {use}: add labelled texts, or hold out "
                f"more of them (a smaller --{name}_one_in)",
            )


def of_words(words: Sequence[RevealingWord]) -> Iterator[Doubt]:
    """Of words that give a label away."""
    for word in words:
        yield Doubt(
            kind="revealing_word",
            message=f"the word {word.word!r} stands in {word.share_of_label:.0%} of the "
            f"texts labelled {word.label}, and hardly in others: does it give the "
            "label away? Then remove it, or the column that it comes from",
        )


def of_findings(findings: Findings) -> Iterator[Doubt]:
    """Of what an audit found, besides what `of_splits` says of copies and labels."""
    if findings.num_odd_encodings:
        first = findings.odd_encodings[0]
        yield Doubt(
            kind="odd_encoding",
            message=f"{_counted(findings.num_odd_encodings, 'text')} with {first.what} "
            f"or the like (the first is {first.file}:{first.line}): decode the "
            "source anew, in the encoding that it has",
        )
    near = findings.near_duplicates_facts
    if near and near.num_across:
        yield Doubt(
            kind="near_duplicates",
            message=f"{_counted(near.num_across, 'pair')} of near-duplicates across "
            "splits: held-out metrics are better than on new texts; "
            "--split_near_duplicates=together keeps them on one side of splits that "
            "this program makes",
        )
    noise = findings.label_noise
    if noise and noise.num_suspects:
        yield Doubt(
            kind="suspect_labels",
            message=f"{_counted(noise.num_suspects, 'label')} that may be wrong, by "
            f"{noise.model}; it estimates {noise.estimated_share:.1%} of all, rather too "
            "many, for it counts its own sure errors: go through them with "
            "--review_page of trainer.audit",
        )
    languages = findings.languages
    if languages and languages.other_share > _MANY_IN_OTHER_LANGUAGES:
        yield Doubt(
            kind="languages",
            message=f"{languages.other_share:.1%} of the texts are in other languages "
            f"than {', '.join(languages.expected)}: look at the examples; remove them, "
            "or choose a --preset that knows their languages",
        )
    domain = findings.domain
    if domain and domain.is_shown:
        yield Doubt(
            kind="different_splits",
            message="training and test texts can be told apart (area under the ROC "
            f"curve {domain.auc:.2f}; by chance {max(domain.control_aucs):.2f}) by "
            f"words like {', '.join(domain.test_words[:5])} (test) and "
            f"{', '.join(domain.train_words[:5])} (training): is the model to be used "
            "on texts like those of test?",
        )


def of_tokens(splits: Mapping[str, Any]) -> Iterator[Doubt]:
    """Of what the model reads. splits: `SplitFacts` as mappings, by split."""
    # Where they are alike, the training texts say it for all.
    train = splits["train"]
    if train["unknown_fraction"] > _MANY_UNKNOWN:
        yield Doubt(
            kind="unknown_tokens",
            message=f"{train['unknown_fraction']:.0%} of the words of the training "
            "texts are unknown to the preset's vocabulary, and read as [UNK]: choose "
            "a --preset of the texts' language",
        )
    for name, split in splits.items():
        if split["num_unknown_texts"]:
            yield Doubt(
                kind="unknown_texts",
                message=f"of {_counted(split['num_unknown_texts'], 'text')} of the "
                f"{name} split the preset's vocabulary knows no word: all of them "
                "look the same to the model; choose another --preset, or remove them",
            )
    if train["truncated_fraction"] > _MANY_CUT:
        yield Doubt(
            kind="texts_cut",
            message=f"{train['truncated_fraction']:.0%} of the training texts are "
            "longer than the model reads: a larger --max_length, or "
            "--long_text=windows, lets it read more",
        )


def of_weights(
    cells: Sequence[ReweighedCell], label_names: Sequence[str]
) -> Iterator[Doubt]:
    """Of weights by group and label."""
    groups = dict.fromkeys(cell.group for cell in cells)
    there = {(cell.group, cell.label) for cell in cells}
    lacking = [
        f"{group} has no text labelled {label}"
        for group in groups
        for label in label_names
        if (group, label) not in there
    ]
    if lacking:
        yield Doubt(
            kind="label_goes_with_group",
            message=f"{', '.join(lacking[:_MAX_NAMED])}"
            f"{f' and {len(lacking) - _MAX_NAMED} more' if len(lacking) > _MAX_NAMED else ''}"
            ": no weight makes up for it, so the label still goes with the group; add "
            "such texts",
        )
    heaviest = max(cells, key=lambda cell: cell.weight)
    if heaviest.weight > _HEAVY:
        yield Doubt(
            kind="heavy_texts",
            message=f"a text of {heaviest.group} labelled {heaviest.label} weighs "
            f"{heaviest.weight:.0f} times the mean in training, for there are only "
            f"{heaviest.num_texts}: what is learnt hangs on them; add such texts, or "
            "leave --reweigh_by out",
        )


def of_draws(splits: Mapping[str, Any], limits: Mapping[str, int]) -> Iterator[Doubt]:
    """Of what was to be drawn. limits: texts asked for, by split; 0: all.

    The limit of held-out texts is one for two splits: it is a mistake where it is beyond
    both.
    """
    held_out = [each for name, each in splits.items() if name != "train"]
    most = max((each["num_available"] for each in held_out), default=0)
    for name, split in splits.items():
        is_train = name == "train"
        flag = "num_train_examples" if is_train else "num_eval_examples"
        if limits[name] > (split["num_available"] if is_train else most):
            yield Doubt(
                kind="short_draw",
                message=f"--{flag}={limits[name]} exceeds the {split['num_available']} "
                f"texts of the {name} split: all of them are used",
            )


def of_training(
    *, total_steps: int, global_batch_size: int, num_train_examples: int
) -> Iterator[Doubt]:
    """Of the plan. global_batch_size: 0 where batches are made of tokens."""
    if num_train_examples < global_batch_size:
        yield Doubt(
            kind="large_batch",
            message=f"--global_batch_size={global_batch_size} exceeds the "
            f"{num_train_examples} training texts: each epoch is one step, filled up "
            "with repeated rows of no weight; make it smaller",
        )
    if total_steps < _FEW_STEPS:
        yield Doubt(
            kind="few_steps",
            message=f"the whole training is {_counted(total_steps, 'step')}: a smaller "
            "--global_batch_size or more --num_train_epochs gives the model more",
        )


def of_result(evaluations: Mapping[str, SplitEvaluation]) -> Iterator[Doubt]:
    """Of what was measured. evaluations: by split, of the trained model."""
    name = next((name for name in ("test", "validation") if name in evaluations), None)
    if name is None:
        return
    evaluation = evaluations[name]
    commonest = evaluation.majority_class_accuracy
    if least_accuracy(evaluation) <= commonest:
        yield Doubt(
            kind=NO_BETTER_THAN_COMMONEST,
            message=f"an accuracy of {evaluation.accuracy:.1%} on the {name} texts is "
            f"not shown to be better than {always_commonest(evaluation)} "
            f"({commonest:.1%}): add texts, train longer, or check the labels",
        )


def always_commonest(evaluation: SplitEvaluation) -> str:
    """The simplest model in words: what `majority_class_accuracy` is of."""
    if evaluation.label_sets is None:
        return "always answering the commonest label"
    return "giving all texts the labels that most of them have"


def of_kept(kept: Kept | None, *, max_drop: float) -> Iterator[Doubt]:
    """Of what the encoder kept. max_drop: --max_general_drop, 0 for any."""
    if kept is None or kept.probe is None or not max_drop:
        return
    low, high = kept.probe.interval_95
    if kept.stopped_at is not None or -high > max_drop:
        yield Doubt(
            kind="general_drop",
            message=f"a linear probe on {kept.probe.texts.source} lost "
            f"{-kept.probe.difference:.1%} ({-high:.1%} to {-low:.1%}) of its accuracy, "
            f"and --max_general_drop allows {max_drop:.1%}: lower --learning_rate, or "
            "train less, with --lora_rank or --freeze_layers",
        )


def of_groups(groups: Groups | None, *, max_slice_gap: float) -> Iterator[Doubt]:
    """Of groups of texts, where a gap is beyond chance, or beyond harmless synonyms.

    Args:
      max_slice_gap: --max_slice_gap; 0: any.
    """
    if groups is None:
        return
    for kind in groups.slices:
        shown = [gap for gap in kind.gaps if gap.is_shown]
        if shown:
            largest = max(shown, key=lambda gap: gap.value)
            yield Doubt(
                kind="group_gap",
                message=f"{group_sentences.gap(kind, largest)}: it may come from the "
                "texts, the labels or the model, and whether it wrongs anyone is for you "
                "to judge; read texts of both groups, and see Groups in the report",
            )
    for each in groups.counterfactuals:
        yield from _of_counterfactual(each)
    if max_slice_gap and not any(kind.gaps for kind in groups.slices):
        yield Doubt(
            kind="unjudged_gap",
            message=f"--max_slice_gap={max_slice_gap:g} could not be judged, for no two "
            f"groups of a kind have {groups.min_slice} held-out texts: hold out more "
            "texts, or set a smaller --min_slice",
        )


def _of_counterfactual(found: Counterfactual) -> Iterator[Doubt]:
    """Of swapped words, where they do more than harmless ones."""
    moved = group_sentences.excluding_zero(found)
    if found.is_beyond_floor and moved:
        named = ", ".join(map(group_sentences.signed, moved[:_MAX_NAMED]))
        yield Doubt(
            kind="counterfactual_gap",
            message=f"words of {found.kind} that are swapped in texts move the "
            f"probability more than harmless synonyms do ({named}): whether they "
            "should is for you to judge; see Groups in the report",
        )
    templates = found.templates
    apart = group_sentences.beyond_wording(templates) if templates else []
    if templates and apart:
        named = ", ".join(map(group_sentences.signed, apart[:_MAX_NAMED]))
        yield Doubt(
            kind="template_gap",
            message=f"neutral sentences about {found.kind} differ by "
            f"{points(templates.gap)} points of probability between groups, and by "
            f"{points(templates.floor)} between two wordings ({named}, each to the "
            "others): they are nobody's texts, and what swapped words do in held-out "
            "texts is in the report, Groups; judge whether such sentences will be asked",
        )


def least_accuracy(scores: SplitEvaluation | BaselineScores) -> float:
    """The low end of the accuracy's interval; the accuracy where it has none."""
    interval = scores.confidence_intervals_95.get("accuracy")
    return interval[0] if interval else scores.accuracy


def beside(worth: str | None, doubts: Iterable[Doubt]) -> tuple[Doubt, ...]:
    """The doubts to show beside the sentence of `worth.py`, which tells one of them."""
    told = NO_BETTER_THAN_COMMONEST if worth else None
    return tuple(doubt for doubt in doubts if doubt.kind != told)


def messages(doubts: Iterable[Doubt]) -> tuple[str, ...]:
    """The sentences alone."""
    return tuple(doubt.message for doubt in doubts)


def _named(names: Sequence[str]) -> str:
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
