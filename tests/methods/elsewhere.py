"""A device that is not the CPU, for machines without one: its tensors refuse to meet the CPU's.

They hold their numbers on the CPU and report the device `meta`, so that autograd runs. As on a
GPU, an operation on tensors of both devices raises, unless the CPU's is a single number, and so
does noise for them from a generator of the CPU. Copies between the devices are allowed. Reading a
number back is allowed too, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")


class _There(Tensor):
    """A tensor of the other device; `held` are its numbers, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _There:
        there: _There = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, _There)]
    here = [t for t in tensors if not isinstance(t, _There)]
    name, device = function.overloadpacket.__name__, kwargs.get("device")
    copies = name in ("_to_copy", "copy_")
    if there and not copies:
        if any(t.ndim > 0 for t in here):
            raise RuntimeError(f"{name}: tensors on two devices")
        if kwargs.get("generator") is not None:
            raise RuntimeError(f"{name}: a generator of the CPU draws on another device")
    inner = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    plain = tree_map(lambda v: v.held if isinstance(v, _There) else v, (args, inner))
    result = function(*plain[0], **plain[1])
    target = torch.device(device).type if device is not None else None
    arrives = target == DEVICE.type if target is not None else bool(there)
    if name == "copy_":
        arrives = isinstance(args[0], _There)
    if not arrives:
        return result
    wrapped = tree_map(lambda v: _There(v) if isinstance(v, Tensor) else v, result)
    return return_and_correct_aliasing(function, args, kwargs, wrapped) if there else wrapped


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            self.read += isinstance(args[0], _There)
        return _run(function, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """Tensors of Python numbers come into being below the operations, so they are copied."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and device is not None:
            made = function(*args, **{**kwargs, "device": None})
            return made.to(device)
        return function(*args, **kwargs)


class Elsewhere:
    """Inside, `tensor.to(DEVICE)`, `module.to(DEVICE)` and factories with that device work."""

    def __init__(self) -> None:
        self._operations, self._constants = _Operations(), _Constants()

    @property
    def read(self) -> int:
        """How many numbers were fetched from the device."""
        return self._operations.read

    def __enter__(self) -> Elsewhere:
        self._operations.__enter__()  # type: ignore[no-untyped-call]
        self._constants.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._constants.__exit__(*error)  # type: ignore[no-untyped-call]
        self._operations.__exit__(*error)  # type: ignore[no-untyped-call]


def back(value: Tensor) -> Tensor:
    """The numbers of a tensor of the other device, or of this one, on the CPU."""
    value = value.detach()
    return value.held if isinstance(value, _There) else value
