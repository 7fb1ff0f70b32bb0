"""The script on soups: its interval by hand, and a space whose trials share stems."""

from __future__ import annotations

from ltat_tune.preflight.load import load_space
from ltat_tune.search.stems import may_share
from scripts import soups_tried


def test_gains_have_students_interval_and_are_counted() -> None:
    # mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027: 2 -+ 2.48
    said = soups_tried.in_words([1.0, 2.0, 3.0])
    assert said == "+2.00 points (95 % interval -0.48 to +4.48), 3 of 3 higher, 0 lower"
    assert soups_tried.in_words([0.0]) == "+0.00 points, 0 of 1 higher, 0 lower"


def test_the_trials_of_its_study_can_share_a_stem() -> None:
    space = load_space(soups_tried.SPACE, check_machine=False)
    params = {"optim.lr": 0.1, "reweight.name": "class_balanced", "reweight.beta": 0.9}
    assert may_share(space, space.config(space.scenarios[0], params))
