"""Checks what a searcher cannot do before the study starts."""

from __future__ import annotations

from ltat_tune.preflight.budget import check_budget, race_note
from ltat_tune.search.quota import trials_needed
from ltat_tune.search.rungs import place_rungs
from ltat_tune.space.objective import attack_of
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space, text_of

_GENETIC = ("nsga2", "nsga3")


def check_search(space: Space, problems: Problems) -> list[str]:
    """Add every problem to `problems`. Return notes, which are no reason to refuse."""
    _check_measured(space, problems)
    spec, objective = space.searcher, space.objective
    name, place = spec.name, ("searcher", "name")
    if spec.enumerates and spec.startup == "qmc":
        problems.add(
            ("searcher", "startup"),
            f"searcher.startup must be random with searcher.name {name}, which samples nothing, "
            "got qmc; leave it out",
        )
    if name in _GENETIC and not objective.also:
        problems.add(
            place,
            f"searcher.name {name} trades off several objectives, but there is only "
            f"{objective.metric}; name others under objective.also, or use tpe",
        )
    if name == "cmaes":
        _check_cmaes(space, problems)
    _check_copies(space, problems)
    _check_race_length(space, problems)
    if space.budget is not None and (problem := check_budget(space, place_rungs(space))):
        problems.add(("budget",), problem)
    return [*filter(None, [race_note(space, place_rungs(space))]), *_notes(space)]


def check_fresh_seeds(space: Space, problems: Problems) -> None:
    """Check that confirmations do not count a training that the search chose for its luck."""
    used = [seed for seed in space.confirm_seeds if seed not in space.fresh_seeds]
    if used and space.confirm.top:
        after = max(*space.confirm_seeds, *space.search_seeds) + 1
        instead = [*space.fresh_seeds, *range(after, after + len(used))]
        problems.add(
            ("confirm", "seeds"),
            f"confirm.seeds must not hold {text_of(used)}, with which the search trains: it picks "
            f"configurations for their luck with it; write {instead}, got "
            f"{list(space.confirm_seeds)}",
        )


def _check_copies(space: Space, problems: Problems) -> None:
    """Check that ASHA promotes copies, and that only copies have cheaper attacks.

    A trial that trains on must have trained with its own attack.
    """
    place, fidelity = ("scheduler", "fidelity"), space.scheduler.cheaper
    lengths = place_rungs(space).copies
    if lengths and space.scheduler.name != "asha":
        problems.add(
            ("scheduler", "rungs"),
            f"scheduler.rungs copy needs scheduler.name asha, whose rule promotes copies, got "
            f"{space.scheduler.name}; write name: asha, or rungs: prefix",
        )
    if fidelity and not lengths:
        problems.add(
            place,
            "scheduler.fidelity applies to the copies of scheduler.rungs copy, but this study has "
            "none; write rungs: copy, or leave fidelity out",
        )
        return
    for path, values in fidelity.items():
        whole = min(config.get(path) for _, pairs in space.configurations for _, config in pairs)
        if len(values) > len(lengths) or values[-1] > whole:
            problems.add(
                place,
                f"scheduler.fidelity: {path} must have at most {len(lengths)} values (for copies "
                f"of {' and '.join(map(str, lengths))} epochs), none above {whole}, got "
                f"{list(values)}",
            )


def _check_race_length(space: Space, problems: Problems) -> None:
    """Check that the trials pay for what `searcher.at_least` owes."""
    searcher, owed = space.searcher, space.searcher.at_least
    if owed and (needed := trials_needed(space)) > searcher.trials:
        first = len(space.start_from)
        starts = f", beside {first} of start_from" if first else ""
        problems.add(
            ("searcher", "at_least"),
            f"searcher.trials must be at least {needed}, because searcher.at_least owes each "
            f"choice of {', '.join(f'{path} {least}' for path, least in owed.items())}{starts}, "
            f"got {searcher.trials}; raise searcher.trials, or lower searcher.at_least",
        )


def _check_cmaes(space: Space, problems: Problems) -> None:
    objective, place = space.objective, ("searcher", "name")
    if objective.also:
        problems.add(
            place,
            "searcher.name cmaes takes one objective, but objective.also names "
            f"{', '.join(objective.also)}; use tpe, gp, nsga2 or nsga3",
        )
    if objective.at_least:
        problems.add(
            place,
            "searcher.name cmaes cannot keep bounds, but objective.at_least has "
            f"{', '.join(objective.at_least)}; use tpe or gp",
        )
    if all(domain.kind == "categorical" for domain in space.tuned.values()):
        problems.add(
            place,
            "searcher.name cmaes searches ranges, but every tuned parameter is categorical: "
            f"{', '.join(space.tuned)}; use tpe, or grid to try all choices",
        )


def _notes(space: Space) -> list[str]:
    spec, objective, notes = space.searcher, space.objective, []
    name, stops = spec.name, space.scheduler.name != "none"
    choices = [path for path, domain in space.tuned.items() if domain.kind == "categorical"]
    if name == "predict" and spec.branches > 1:
        notes.append(
            f"searcher.branches {spec.branches} has no effect with searcher.name predict, which "
            "counts what a stem saves in the cost of each training"
        )
    priors = [path for path, domain in space.tuned.items() if domain.prior is not None]
    if name != "predict" and priors:
        notes.append(
            f"the prior of {', '.join(priors)} has no effect with searcher.name {name}; write "
            "searcher.name predict, or begin with such values under start_from"
        )
    if name == "cmaes" and choices:
        notes.append(
            f"searcher.name cmaes models only ranges and draws {', '.join(choices)} at random to "
            "the end; tpe and gp also learn choices"
        )
    several = bool(objective.also or objective.at_least)
    if stops and name in ("gp", "cmaes") and not several:
        notes.append(
            f"searcher.name {name} extrapolates trials that were stopped early: it assumes that "
            "they would have risen like the complete ones"
        )
    elif stops and (name in _GENETIC or (name == "gp" and several)):
        notes.append(
            f"searcher.name {name} learns only from complete trials here, but scheduler.name "
            f"{space.scheduler.name} stops most trials early; use tpe, which learns from those "
            "too, or set scheduler.name none"
        )
    if not spec.enumerates and name != "random" and spec.random_trials >= spec.trials:
        notes.append(
            f"searcher.startup_trials is {spec.random_trials} and searcher.trials {spec.trials}: "
            f"the search ends before searcher.name {name} models anything"
        )
    return notes


def _check_measured(space: Space, problems: Problems) -> None:
    """Check that every metric in `also` and `at_least` is measured on the validation images."""
    for scenario in space.scenarios:
        attack = space.config(scenario, {}).evaluation.val_attack
        for key, metrics in (
            ("also", space.objective.also),
            ("at_least", tuple(space.objective.at_least)),
        ):
            for metric in metrics:
                if attack_of(metric) not in ("clean", attack):
                    problems.add(
                        ("objective", key),
                        f"objective.{key} names {metric}, but evaluation.val_attack {attack} is "
                        "the only attack on validation images; name a metric of clean or "
                        f"{attack}",
                    )
