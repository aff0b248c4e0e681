"""A search's memory and judgement, without processes."""

import math

import optuna
import pytest

from chronos_assets.params.training import CategoricalRange, ContinuousRange, IntegerRange
from chronos_assets.platforms.local.study import STUDY_FILE, Study

pytestmark = pytest.mark.process  # the sampler takes a second for a few dozen trials

RATES = {"learning_rate": ContinuousRange(1e-6, 1e-2, "log")}


@pytest.fixture
def new(tmp_path):
    """Makes studies in files of their own."""
    opened = []

    def make(ranges=RATES, seed=10, name="search"):
        folder = tmp_path / f"{len(opened)} 100%?"
        folder.mkdir()
        Study.create(folder / STUDY_FILE, name, {"asked": ranges.__repr__()})
        opened.append(Study(folder / STUDY_FILE, name, ranges, seed))
        opened[-1].folder = folder
        return opened[-1]

    yield make
    for study in opened:
        study.close()


def search(study, trials):
    """Hyperparameters of so many more trials, of which a learning rate of 1e-4 is the best."""
    for _ in range(trials):
        number = study.start()
        study.finish(number, "Completed", objective(study.hyperparameters(number)))
    return [study.hyperparameters(number) for number in range(study.count())]


def objective(chosen):
    return (math.log10(chosen.get("learning_rate", 1e-4)) + 4) ** 2 + chosen.get("warmup", 0) / 100


def test_the_same_seed_proposes_the_same_and_another_seed_another(new):
    first = search(new(), 7)
    assert search(new(), 7) == first
    assert all(one != other for one, other in zip(search(new(seed=11), 7), first, strict=True))


def test_proposals_do_not_depend_on_what_a_process_did_before(new):
    whole = search(new(), 8)
    cut = new()
    search(cut, 3)
    again = Study(cut.folder / STUDY_FILE, "search", RATES, 10)
    assert search(again, 5) == whole
    again.close()


def test_proposals_follow_what_trials_reported(new):
    other = new()
    for _ in range(7):
        number = other.start()
        other.finish(number, "Completed", -objective(other.hyperparameters(number)))
    told = [other.hyperparameters(number) for number in range(7)]
    whole = search(new(), 7)
    assert told[:5] == whole[:5]  # drawn before anything is known
    assert told[6] != whole[6]


def test_the_sampler_finds_a_better_rate_than_chance(new):
    found = [objective(chosen) for chosen in search(new(), 25)]
    assert sum(found[15:]) / 10 < 0.5 * sum(found[:5]) / 5
    assert min(found) < 0.01


def test_ranges_hold_and_their_scale_counts(new):
    ranges = {
        "linear": ContinuousRange(1e-6, 1e-2),
        "log": ContinuousRange(1e-6, 1e-2, "log"),
        "whole": IntegerRange(1, 1000),
        "whole_log": IntegerRange(1, 1000, "log"),
        "mode": CategoricalRange(("full", "lora", 3, False)),
    }
    made = search(new(ranges), 20)
    for name in ("linear", "log", "whole", "whole_log"):
        assert all(ranges[name].low <= chosen[name] <= ranges[name].high for chosen in made)
    assert all(isinstance(chosen["whole"], int) and isinstance(chosen["whole_log"], int) for chosen in made)
    below = {name: sum(chosen[name] < 1e-4 for chosen in made) for name in ("linear", "log")}
    assert below["linear"] < 5 < below["log"]
    few = {name: sum(chosen[name] < 32 for chosen in made) for name in ("whole", "whole_log")}
    assert few["whole"] < 5 < few["whole_log"]
    assert {chosen["mode"] for chosen in made} == {"full", "lora", 3, False}


def test_nothing_is_tried_twice_while_there_is_something_else(new):
    ranges = {"mode": CategoricalRange(("full", "lora")), "warmup": IntegerRange(0, 1)}
    made = search(new(ranges), 5)
    assert len({tuple(chosen.items()) for chosen in made[:4]}) == 4
    assert made[4] in made[:4]


def test_a_trial_under_way_is_kept_off_by_others(new):
    """Many that are begun at once don't all try the best place known."""
    study = new()
    search(study, 12)
    begun = [study.start() for _ in range(8)]
    rates = [math.log10(study.hyperparameters(number)["learning_rate"]) for number in begun]
    assert max(rates) - min(rates) > 1
    assert all(study.state(number) is None for number in begun)


def test_a_trial_is_given_up_by_the_median_of_two_at_least(new):
    study = new()
    for values in ((0.5, 0.3), (0.7, 0.2)):
        number = study.start()
        for step, value in enumerate(values, 1):
            assert study.report(number, 10 * step, value) is None
        study.finish(number, "Completed", values[-1])
    judged = study.start()
    assert study.report(judged, 10, 0.59) is None
    assert study.report(judged, 20, 0.26).median == pytest.approx(0.25)
    other = study.start()
    verdict = study.report(other, 10, 0.61)
    assert (verdict.step, verdict.best, verdict.median) == (10, 0.61, pytest.approx(0.6))
    # Its best counts, and a step that no other told is no judgement.
    good = study.start()
    assert study.report(good, 10, 0.1) is None
    assert study.report(good, 15, 0.9) is None
    assert study.report(good, 20, 0.9) is None


def test_what_is_reported_again_after_a_kill_is_judged_all_the_same(new):
    study = new()
    for _ in range(2):
        number = study.start()
        study.report(number, 10, 0.5)
        study.report(number, 20, 0.4)
        study.finish(number, "Completed", 0.4)
    number = study.start()
    study.report(number, 10, 0.8)
    study.report(number, 20, 0.7)
    assert study.report(number, 10, 0.8).step == 20
    study.finish(number, "Stopped", 0.8)
    assert (study.state(number), study.objective(number)) == ("Stopped", 0.7)


def test_notes_and_states_are_kept_in_the_file(new):
    study = new()
    completed, failed, cut = (study.start() for _ in range(3))
    study.note(completed, seconds=1.5, began=3.0)
    study.note(completed, began=None, reason="ü")
    study.finish(completed, "Completed", 0.25)
    study.finish(failed, "Failed", None)
    again = Study(study.folder / STUDY_FILE, "search", RATES, 10)
    assert again.notes(completed) == {"seconds": 1.5, "began": None, "reason": "ü"}
    assert [again.state(number) for number in (completed, failed, cut)] == ["Completed", "Failed", None]
    assert [again.objective(number) for number in (completed, failed, cut)] == [0.25, None, None]
    assert "asked" in again.request
    again.close()
    assert [path.name for path in study.folder.iterdir()] == [STUDY_FILE]


def test_people_can_read_it_with_optuna_while_it_is_written(new, monkeypatch):
    study = new()
    search(study, 1)
    number = study.start()
    monkeypatch.chdir(study.folder)  # its path means something in a URL
    seen = optuna.load_study(study_name="search", storage=f"sqlite:///{STUDY_FILE}")
    assert [trial.state.name for trial in seen.trials] == ["COMPLETE", "RUNNING"]
    assert study.report(number, 1, 0.5) is None
    study.finish(number, "Completed", 0.5)
    assert seen.trials[1].value == 0.5
