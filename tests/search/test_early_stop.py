"""The sentence that says why a trial was stopped early."""

from __future__ import annotations

import pytest

from ltat_tune.search.early_stop import EarlyStop


@pytest.mark.parametrize(
    ("stop", "sentence"),
    [
        (
            EarlyStop(9, 0.3124, 0.34, 7, 9),
            "31.2 % at epoch 9 is rank 7 of 9, below the threshold of 34.0 %",
        ),
        (
            EarlyStop(9, 0.3124, 0.34, 7, 9, bracket=True),
            "31.2 % at epoch 9 is rank 7 of 9 of its bracket, below the threshold of 34.0 %",
        ),
        (
            EarlyStop(9, 0.3, 0.4, 5, 6, "best"),
            "30.0 %, its best up to epoch 9, is rank 5 of 6, below the threshold of 40.0 %",
        ),
        (
            EarlyStop(3, 0.3, 0.4, 2, 3, "probe"),
            "30.0 % in the probe at epoch 3 is rank 2 of 3, below the threshold of 40.0 %",
        ),
        (
            EarlyStop(6, 0.3, 0.4, 2, 3, "copy"),
            "30.0 % in its copy of 6 epochs is rank 2 of 3, below the threshold of 40.0 %",
        ),
        (
            EarlyStop(6, 0.4, 0.4, 1, 2, "copy"),
            "40.0 % in its copy of 6 epochs is rank 1 of 2, and earlier trials with the same "
            "score went on",
        ),
    ],
    ids=["own", "bracket", "best", "probe", "copy", "tie"],
)
def test_it_has_the_score_the_rung_the_rank_and_the_threshold(
    stop: EarlyStop, sentence: str
) -> None:
    assert stop.sentence == sentence


def test_a_score_just_below_the_threshold_is_shown_as_less() -> None:
    stop = EarlyStop(9, 0.33999, 0.34, 2, 3)
    assert stop.sentence == "33.999 % at epoch 9 is rank 2 of 3, below the threshold of 34.000 %"
