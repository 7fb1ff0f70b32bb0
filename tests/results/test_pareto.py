"""Pareto fronts by hand."""

from __future__ import annotations

from ltat_tune.results.pareto import pareto_front


def test_the_front_has_the_points_that_no_other_beats() -> None:
    points = [(80.0, 30.0), (70.0, 40.0), (75.0, 35.0), (74.0, 20.0), (80.0, 29.0)]
    assert pareto_front(points) == [0, 1, 2]


def test_of_equal_points_the_first_stands_for_all_unless_all_are_asked_for() -> None:
    points = [(1.0, 2.0), (2.0, 1.0), (1.0, 2.0), (1.0, 1.0)]
    assert pareto_front(points) == [0, 1]
    assert pareto_front(points, equals=True) == [0, 1, 2]


def test_with_one_coordinate_it_is_the_best_point() -> None:
    assert pareto_front([(0.3,), (0.5,), (0.4,), (0.5,)]) == [1]
    assert pareto_front([]) == []


def test_three_coordinates_are_all_looked_at() -> None:
    # 3 is better than 0 in the last alone; 2 is beaten by 1 in all
    points = [(2.0, 2.0, 0.0), (1.0, 1.0, 3.0), (0.0, 0.0, 2.0), (2.0, 2.0, 1.0)]
    assert pareto_front(points) == [1, 3]
