"""`frozen`: what it does inside and undoes after."""

from __future__ import annotations

import pytest

from ltat_tune.attacks.frozen import frozen
from tests.attacks.toys import snapshot, tiny_cnn, unusual_state


@pytest.mark.parametrize("training", [True, False])
def test_inside_one_mode_and_no_gradients_and_after_all_as_found(training: bool) -> None:
    model = tiny_cnn()
    unusual_state(model)
    before = snapshot(model)
    with frozen(model, training=training):
        assert all(module.training is training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert snapshot(model) == before


def test_all_is_as_found_after_an_exception() -> None:
    model = tiny_cnn()
    unusual_state(model)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="inside"), frozen(model, training=False):
        raise RuntimeError("inside")
    assert snapshot(model) == before
