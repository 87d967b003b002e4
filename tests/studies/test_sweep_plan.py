"""Tests of trainer/studies/sweep_plan.py and what is made of it: planted runs alone."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Iterator

import pytest

from tests.evaluation.tiny_report import NAMES, evaluation, tiny_report
from trainer import storage
from trainer.config import DataConfig, ModelConfig, TrainingConfig
from trainer.data import sources
from trainer.studies import driver, study_folder, sweep, sweep_page, sweep_plan
from trainer.studies.plan import FinishedRun, PlannedRun
from trainer.studies.sweep_plan import Sweep
from trainer.studies.sweep_schema import SweepStudy
from trainer.study_config import StudyConfig

NUM_TEXTS = 400
NUM_VALIDATION = 100
# A rate is as good as it is near to this one.
BEST_RATE = 1e-4


def make_study(folder: pathlib.Path, **changes: Any) -> StudyConfig:
    """Eight trials on a half of the texts, four on all of them."""
    values: dict[str, Any] = {
        "study": "sweep",
        "study_dir": str(folder),
        "sweep": ("learning_rate=log:1e-6:1e-2", "num_train_epochs=1,4"),
        "num_trials": 8,
        "rungs": ("0.5", "1"),
        "data": DataConfig(dataset="files:a.csv"),
        "model": ModelConfig(preset="tiny"),
    }
    return StudyConfig(**values | changes)


def num_wrong(planned: PlannedRun) -> int:
    """Of the validation texts: two more for each epoch left out or half a decade off."""
    config = planned.config
    ratio = max(
        config.optimizer.learning_rate / BEST_RATE,
        BEST_RATE / config.optimizer.learning_rate,
    )
    return min(50, int(ratio / 2) + 4 - config.training.num_train_epochs)


def finish(planned: PlannedRun, wrong: int) -> FinishedRun:
    """Planted results, and the answers in the run's folder."""
    config = planned.config
    folder = pathlib.Path(config.model_dir) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        {
            "file": "a.csv",
            "line": line,
            "label": NAMES[line % 2],
            "answer": NAMES[(line + (line < wrong)) % 2],
            "probabilities": [0.5, 0.5],
        }
        for line in range(NUM_VALIDATION)
    )
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "validation.jsonl").write_text(lines)
    report = tiny_report()
    training = dataclasses.replace(
        report.training,
        num_train_examples=config.data.num_train_examples or NUM_TEXTS,
        num_steps_run=10 * config.training.num_train_epochs,
        total_steps=10 * config.training.num_train_epochs,
    )
    validation = dataclasses.replace(
        evaluation(NUM_VALIDATION, 2.0), accuracy=1 - wrong / NUM_VALIDATION
    )
    after = {"validation": validation}
    if config.data.evaluate_test:
        after["test"] = evaluation(200, 2.0)
    return FinishedRun(
        planned,
        dataclasses.replace(
            report,
            after=after,
            training=training,
            config=dataclasses.asdict(config),
            data=dataclasses.replace(report.data, label_names=NAMES),
        ),
    )


def all_steps(
    config: StudyConfig, *, at_once: int = 100
) -> Iterator[tuple[Sweep, list[FinishedRun]]]:
    """The sweep as it is after so many runs more, those that diverged left out."""
    folder = study_folder.at(config.study_dir)
    finished: list[FinishedRun] = []
    while True:
        now = sweep_plan.follow(config, num_texts=NUM_TEXTS, finished=finished)
        yield now, finished
        done = {run.planned.number for run in finished}
        to_do = [
            run
            for run in sweep_plan.runs_of(config, now)
            if run.number not in done and folder.why_diverged(run.number) is None
        ]
        if not to_do:
            return
        finished += [finish(run, num_wrong(run)) for run in to_do[:at_once]]


def results_of(config: StudyConfig) -> SweepStudy:
    *_, (_, finished) = all_steps(config)
    return sweep.results(config, finished, None)


def diverge(config: StudyConfig, *numbers: int) -> None:
    """Says of some runs that they diverged, as the driver does."""
    for number in numbers:
        place = study_folder.at(config.study_dir).diverged(number)
        storage.write_text(place, "training diverged at step 3")


def test_a_planted_best_comes_through_and_the_cheapest_of_the_good_ones_wins(
    tmp_path: pathlib.Path,
) -> None:
    study = results_of(make_study(tmp_path))
    assert [len(trial.rungs) for trial in study.trials].count(2) == 4
    (winner,) = (trial for trial in study.trials if trial.status == "winner")
    assert winner.number == study.winner
    good = [trial for trial in study.trials if trial.status == "as_good"]
    best = min(
        (trial for trial in study.trials if trial.behind is not None),
        key=lambda trial: trial.behind or 0.0,
    )
    # The best has four epochs, but one epoch costs a quarter and is hardly behind.
    assert best.settings["num_train_epochs"] == 4 and best in good
    assert winner.settings["num_train_epochs"] == 1
    assert winner.cost == (best.cost or 0.0) / 4
    low, high = winner.behind_interval_95 or (1.0, 1.0)
    assert low <= 0 < (winner.behind or 0.0) < high
    assert "is the cheapest of these: it takes 25% of the arithmetic" in " ".join(
        study.answers
    )


def test_runs_are_named_once_and_for_all(tmp_path: pathlib.Path) -> None:
    """Whatever is finished, a number stands for the same run."""
    config = make_study(tmp_path, seeds=("3", "5"))
    known: dict[int, PlannedRun] = {}
    for now, _ in all_steps(config, at_once=3):
        for run in sweep_plan.runs_of(config, now):
            assert known.setdefault(run.number, run) == run
    assert sorted(known) == list(range(8 + 2 * 4 + 1))
    first = [known[number].config for number in range(8)]
    assert {config.data.num_train_examples for config in first} == {200}
    assert {config.training.seed for config in first} == {3}
    last = [known[number].config for number in range(8, 16)]
    assert {config.data.num_train_examples for config in last} == {400}
    assert [config.training.seed for config in last] == [3, 5] * 4


def make_optuna_study(folder: pathlib.Path, **changes: Any) -> StudyConfig:
    """Eight trials of Sobol's, then two batches of Optuna's, the last one short."""
    return make_study(
        folder, **{"sampler": "optuna", "num_trials": 14, "rungs": ("1",)} | changes
    )


def test_optunas_trials_are_named_once_and_for_all(tmp_path: pathlib.Path) -> None:
    """Whatever is finished, and in which order: a number stands for the same run."""
    config = make_optuna_study(tmp_path, seeds=("3", "5"))
    *_, (whole, finished) = all_steps(config)
    planned = sweep_plan.runs_of(config, whole)
    assert [run.number for run in planned] == list(range(2 * 14 + 1))
    assert [len(now.trials) for now, _ in all_steps(config)] == [8, 12, 14, 14, 14]
    for now, some in all_steps(config, at_once=5):
        known = sweep_plan.runs_of(config, now)
        assert known == planned[: len(known)]
        # A process that is started again, or hears of them in another order.
        again = sweep_plan.follow(config, num_texts=NUM_TEXTS, finished=some[::-1])
        assert sweep_plan.runs_of(config, again) == known
    # With holes, as several jobs leave them: no more is known than of the whole batches.
    holes = [run for run in finished if run.planned.number not in (5, 2 * 14)]
    now = sweep_plan.follow(config, num_texts=NUM_TEXTS, finished=holes)
    assert sweep_plan.runs_of(config, now) == planned[: 2 * 8] and now.winner is None


def test_a_sweep_by_optuna_ends_with_a_winner(tmp_path: pathlib.Path) -> None:
    """Trials of every batch diverge, one of them with one of its seeds."""
    config = make_optuna_study(tmp_path, seeds=("0", "1"))
    diverge(config, 1, 18, 19, 27)
    study = results_of(config)
    assert len(study.trials) == 14 and study.winner is not None
    diverged = [trial.number for trial in study.trials if trial.status == "diverged"]
    assert diverged == [0, 9, 13]
    assert study.config["sampler"] == "optuna"


def test_optuna_learns_from_the_metric_of_which_less_may_be_better(
    tmp_path: pathlib.Path,
) -> None:
    """Only ranks matter: by a loss that is 1 - accuracy the same trials follow."""
    config = make_optuna_study(tmp_path)
    *_, (by_accuracy, finished) = all_steps(config)
    of_loss = []
    for run in finished:
        validation = run.of_labels.after["validation"]
        validation = dataclasses.replace(validation, loss=1 - validation.accuracy)
        after = {**run.of_labels.after, "validation": validation}
        report = dataclasses.replace(run.of_labels, after=after)
        of_loss.append(dataclasses.replace(run, report=report))
    config = dataclasses.replace(config, training=TrainingConfig(best_metric="loss"))
    for reports, are_same in ((of_loss, True), (finished, False)):
        by_loss = sweep_plan.follow(config, num_texts=NUM_TEXTS, finished=reports)
        assert (by_loss.trials == by_accuracy.trials) == are_same


def test_only_the_winners_run_answers_test_and_exports(tmp_path: pathlib.Path) -> None:
    config = make_study(
        tmp_path,
        serving=dataclasses.replace(
            make_study(tmp_path).serving, decision_metric="f1_macro"
        ),
    )
    *_, (now, _) = all_steps(config)
    *trials, winner = (run.config for run in sweep_plan.runs_of(config, now))
    for trial in trials:
        assert not trial.data.evaluate_test and not trial.serving.export
        assert trial.baselines == () and trial.serving.decision_metric == "none"
    assert winner.data.evaluate_test and winner.serving.export
    assert winner.baselines == config.baselines
    assert winner.serving.decision_metric == "f1_macro"
    # All texts, as the base says it.
    assert winner.data.num_train_examples == 0
    assert now.winner is not None
    settings = now.trials[now.winner]
    assert winner.optimizer.learning_rate == settings["learning_rate"]
    assert winner.training.num_train_epochs == settings["num_train_epochs"]


def test_trials_that_diverged_are_left_behind(tmp_path: pathlib.Path) -> None:
    config = make_study(tmp_path)
    diverge(config, 1, 9)
    study = results_of(config)
    assert [trial.status for trial in study.trials].count("diverged") == 2
    assert study.trials[1].rungs[0].value is None
    assert "The training of 2 of the trials diverged." in study.answers
    assert "diverged" in sweep_page.render_html(study)


def test_a_finalist_alone_is_not_compared_with_others(tmp_path: pathlib.Path) -> None:
    study = results_of(make_study(tmp_path, num_trials=2))
    assert [len(trial.rungs) for trial in study.trials].count(2) == 1
    (said,) = (each for each in study.answers if "trained on all" in each)
    assert said.startswith("It alone was trained on all training texts: accuracy ")


def test_a_process_sees_what_follows_from_a_run_that_diverged_elsewhere(
    tmp_path: pathlib.Path,
) -> None:
    """As --num_jobs leaves it: the jobs make all runs, this process looks on."""
    rows = "".join(f"good film {i},pos\nbad film {i},neg\n" for i in range(60))
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    config = make_study(
        tmp_path / "study",
        num_trials=2,
        rungs=("1",),
        data=DataConfig(dataset=f"files:{tmp_path / 'a.csv'}"),
    )
    folder = study_folder.at(config.study_dir)

    finished: list[FinishedRun] = []

    def make_elsewhere(number: int) -> None:
        now = sweep_plan.follow(config, num_texts=90, finished=finished)
        finished.append(finish(sweep_plan.runs_of(config, now)[number], 1))
        text = json.dumps(dataclasses.asdict(finished[-1].report))
        storage.write_text(folder.run(number).report, text)

    work = driver._Work(config, load=sources.load)
    work.begin()
    make_elsewhere(0)
    work.look()
    assert [run.number for run in work.unfinished()] == [1]
    diverge(config, 1)
    make_elsewhere(2)
    work.look()
    assert work.unfinished() == []
    assert str(folder.path / "winner.flags") in work.recorded()


def test_a_sweep_of_nothing_but_diverged_trials_says_so(tmp_path: pathlib.Path) -> None:
    config = make_study(tmp_path)
    diverge(config, *range(8))
    with pytest.raises(FloatingPointError, match="sweep lower learning rates"):
        results_of(config)


def test_the_page_tells_what_the_json_does(tmp_path: pathlib.Path) -> None:
    study = results_of(make_study(tmp_path, seeds=("0", "1")))
    page = sweep_page.render_html(study)
    content = json.loads(study.to_json())
    assert content["study"] == "sweep" and content["split"] == "test"
    assert content["mean"] == evaluation(200, 2.0).accuracy
    assert content["std"] is None and len(content["interval_95"]) == 2
    assert len(content["runs"]) == 8 + 2 * 4 + 1
    for trial in study.trials:
        assert f"{trial.settings['learning_rate']}</td>" in page
    assert page.count(">not shown to be worse<") == sum(
        trial.status == "as_good" for trial in study.trials
    )
    assert "over 2 seeds" in page and "winner.flags" in page
    assert "forest" in page
    table = sweep_page.summary(study)
    assert table.splitlines()[2].split()[:1] == [str(study.winner)]


def test_few_trials_have_no_effects(tmp_path: pathlib.Path) -> None:
    study = results_of(make_study(tmp_path, num_trials=3, rungs=("1",)))
    assert study.effects == ()
    assert study.no_effects and "3 trials are too few" in study.no_effects
    assert "3 trials are too few" in sweep_page.render_html(study)


def test_the_setting_that_matters_is_found(tmp_path: pathlib.Path) -> None:
    config = make_study(
        tmp_path,
        sweep=("learning_rate=log:1e-6:1e-2", "weight_decay=linear:0:0.1"),
        num_trials=24,
        rungs=("1",),
    )
    study = results_of(config)
    assert [effect.name for effect in study.effects] == [
        "learning_rate",
        "weight_decay",
    ]
    assert study.effects[0].importance > 5 * study.effects[1].importance


def test_by_loss_less_is_better(tmp_path: pathlib.Path) -> None:
    config = make_study(tmp_path, training=TrainingConfig(best_metric="loss"))
    *_, (now, finished) = all_steps(config)
    # Planted are equal losses, so that the first trials go on and the cheapest wins.
    assert now.entrants[1] == (0, 1, 2, 3)
    study = sweep.results(config, finished, None)
    assert study.metric == "loss" and study.mean == evaluation(200, 2.0).loss
