"""What a copy of a training changes of its configuration."""

from __future__ import annotations

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.storage.task import Task, cheaper


def test_a_copy_of_one_attack_step_trains_with_n_fgsm() -> None:
    config = TrialConfig.from_flat({"attack.eps": 0.1, "optim.epochs": 8})
    task = Task(
        key="a/t0000/copy-2", kind="copy", scenario="a", config=config.flat(), folder="f",
        cache="c", threads=1, device="cpu", epochs=2, fidelity={"attack.steps": 1},
    )  # fmt: skip
    attack = task.training_config().attack
    assert (attack.steps, attack.step_size, attack.start) == (1, 0.1, "uniform_clipped")
    assert (attack.start_radius, attack.projection) == (2.0, False)
    assert cheaper(config, {"attack.steps": 2}) == {"attack.steps": 2}
    one = config.replace({"attack.steps": 1})  # is what the whole training does
    assert cheaper(one, {"attack.steps": 1}) == {"attack.steps": 1}
