"""Checks that everything tuned can have an effect, and that all trials are judged alike."""

from __future__ import annotations

from ltat_tune.config.effects import why_inert
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.preflight.machine import check_attacks, check_images_there, check_resources
from ltat_tune.preflight.networks import check_networks
from ltat_tune.search.rungs import place_rungs
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import MANY, Space, text_of


def check_space(
    space: Space,
    problems: Problems,
    *,
    check_machine: bool,
    allow_inert: bool,
    cluster: bool = False,
) -> list[str]:
    """Add every problem to `problems`. Return notes, which are no reason to refuse."""
    notes = _check_effects(space, problems, allow_inert)
    _check_measurement(space, problems)
    notes += check_attacks(space, problems)
    notes += _idle_rbl(space) + list(place_rungs(space).notes)
    if space.selected_on_test:
        notes.append(
            "data.val_source is test (the papers' protocol): "
            "every result is marked selected_on_test"
        )
    if space.confirm.top == 0:
        notes.append(
            "confirm.top is 0: the study retrains no winner and does not use the test images"
        )
    if check_machine:
        notes += check_images_there(space, problems)
        notes += check_networks(space, problems)
        check_resources(space, problems, cluster)
    return notes


def _check_effects(space: Space, problems: Problems, allow_inert: bool) -> list[str]:
    """Refuse tuned parameters that cannot change any result where they are proposed."""
    notes = []
    configs = space.configurations
    for path in space.tuned:
        everywhere, scenarios = True, []
        mixed: str | None = None
        for scenario, contexts in configs:
            reasons = [why_inert(config, path) for params, config in contexts if path in params]
            if not reasons and (space.enumerated or len(contexts) < MANY):
                why = (
                    "no entry of start_from sets it; remove it from tuned"
                    if space.searcher.name == "list"
                    else "its `when` is never met, "
                    "because a parameter that it names has a `when` of its own"
                )
                label = PARAMETERS[path].label
                problems.add(("tuned", path, "when"), f"{label} is never proposed: {why}")
                break
            dead = [reason for reason in reasons if reason is not None]
            if dead and len(dead) < len(reasons):
                mixed = dead[0]
            if dead and len(dead) == len(reasons):
                scenarios.append((scenario.title, dead[0]))
            else:
                everywhere = False
        label = PARAMETERS[path].label
        problem = None
        if everywhere and scenarios:
            problem = f"{label} has no effect here: {scenarios[0][1]}; remove it from tuned"
        elif mixed:
            problem = f"{label} has no effect in some trials: {mixed}; {_remedy(path, space)}"
        elif scenarios:
            notes.append(
                f"{label} has no effect in the scenario {scenarios[0][0]}: {scenarios[0][1]}"
            )
        if problem and allow_inert:
            notes.append(f"{problem} (the study runs anyway)")
        elif problem:
            problems.add(("tuned", path), problem)
    return notes


def _idle_rbl(space: Space) -> list[str]:
    """Return a note if RBL does nothing because the method attacks in eval mode.

    REAT as released does so, and without the note users would not notice.
    """
    path = "attack.reweight"
    if path in space.tuned:
        return []
    for _, proposals in space.configurations:
        for _, config in proposals:
            reason = why_inert(config, path)
            if config.attack.reweight != "none" and reason is not None:
                name = config.attack.reweight
                return [
                    f"attack.reweight {name} of {config.method.name} changes nothing: {reason}"
                ]
    return []


def _remedy(path: str, space: Space) -> str:
    """Return a `when` that excludes a parameter where it has no effect, or another remedy."""
    contexts = [pair for _, pairs in space.configurations for pair in pairs if path in pair[0]]
    for other in (p for p, domain in space.tuned.items() if domain.choices and p != path):
        acting, idle = (
            {
                params.get(other)
                for params, config in contexts
                if (why_inert(config, path) is None) is acts
            }
            for acts in (True, False)
        )
        if acting and not acting & idle and None not in acting:
            choices = sorted(map(text_of, acting))
            values = choices[0] if len(choices) == 1 else f"[{', '.join(choices)}]"
            return f"give it `when: {{{other}: {values}}}`"
    return "change that, or remove the parameter from tuned"


def _check_measurement(space: Space, problems: Problems) -> None:
    """Check that the objective is measured, and in the same way for all trials of a scenario."""
    for scenario in space.scenarios:
        config = space.config(scenario, {})
        measured = {"clean", config.evaluation.val_attack}
        if space.objective.attack not in measured:
            problems.add(
                ("objective", "metric"),
                f"objective.metric needs the attack {space.objective.attack} on validation "
                f"images, but evaluation.val_attack is {config.evaluation.val_attack}; "
                "set evaluation.val_attack under fixed to the same attack",
            )
            break
    _check_scale(space, problems)
    follows = any(space.config(s, {}).evaluation.eps is None for s in space.scenarios)
    if "attack.eps" in space.tuned and follows:
        problems.add(
            ("tuned", "attack.eps"),
            "attack.eps is tuned and evaluation.eps follows it, so the weakest attack would win; "
            "set evaluation.eps under fixed",
        )


def _check_scale(space: Space, problems: Problems) -> None:
    """Refuse to tune a factor on the logits under PGD, because the scale that masks most would
    win.
    """
    path = "model.inference_scale"
    if (
        path in space.tuned
        and space.objective.attack.startswith("pgd")
        and not space.searcher.enumerates
    ):
        problems.add(
            ("tuned", path),
            f"{path} changes no weight, only how well {space.objective.attack} sees the model, so "
            "the scale that hides it best would win; judge by val/cw20_balanced_acc with "
            "evaluation.val_attack cw20, or fix the scale",
        )
