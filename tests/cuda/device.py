"""A GPU that is pretended: its tensors say `cuda:0`, and a CPU computes them.

`with Pretended() as gpu:` runs the product's own code with `device="cuda"`. What CUDA refuses is
refused: operands on two devices, a CPU generator for a tensor of the device, `numpy()` of it. The
context counts what makes the host wait, with the line that caused it, and which of that happened
inside a training step. `recording.py` pretends CUDA graphs.

What it cannot show: speed, memory, the kernels' own rounding, races between streams.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.cuda import recording
from tests.cuda.recording import Graph, Tape

_COPIES = {"copy_", "_to_copy"}
_INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_SHAPED_BY_NUMBERS = {
    "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "bincount",
    "unique_consecutive", "repeat_interleave",
}  # fmt: skip
# the backward passes of gather and of max along a dimension, among others
_SCATTERS = {"aten.scatter_add.default", "aten.scatter_add_.default", "aten.scatter.src",
             "aten.scatter_.src"}  # fmt: skip
_DRAWS = {
    "uniform_", "normal_", "random_", "bernoulli_", "bernoulli", "rand", "randn", "randint",
    "randperm", "rand_like", "randn_like", "randint_like", "multinomial", "native_dropout",
}  # fmt: skip


class OnDevice(torch.Tensor):
    """A tensor of the device; `host` holds its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor, device: torch.device) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(),
            dtype=host.dtype, device=device,
        )  # fmt: skip
        made.host = host
        memory, key = Pretended.active().memory, id(host)
        memory[key] = weakref.ref(host, lambda gone: _forget(memory, key))
        return made

    def record_stream(self, stream: Any) -> None:
        """Nothing: memory is not given to another stream here."""

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"OnDevice({self.host}, {self.device})"

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else str(self.host), spec)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return Pretended.active().do(func, args, kwargs or {})


def _forget(memory: dict[int, weakref.ref[Tensor]], key: int) -> None:
    memory.pop(key, None)


def to_host(value: Tensor) -> Tensor:
    """The numbers of a tensor, wherever it is, without counting a wait."""
    value = value.detach()
    return value.host if isinstance(value, OnDevice) else value


class _Everything(TorchDispatchMode):
    """Sends operations here that have no operand yet, such as torch.zeros(device="cuda")."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Pretended.active().do(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Functions that reach C++ before they are dispatched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and _is_cuda(device):
            return func(*args, **{**kwargs, "device": None}).to(device)
        first = args[0] if args else None
        if isinstance(first, OnDevice):
            if func is torch.Tensor.tolist:
                Pretended.active().wait("numbers are read")
                return first.host.tolist()
            if func is torch.Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class Stream:
    """Stands for torch.cuda.Stream: everything in it is done at once."""

    def __init__(self, device: Any = None) -> None:
        current = Pretended.active().current
        self.device = torch.device("cuda", current) if device is None else _whole(device)

    def wait_stream(self, other: Stream) -> None:
        """Wait for nothing."""

    def synchronize(self) -> None:
        """Count a wait of the host."""
        Pretended.active().wait("a stream is waited for")


class Event:
    """Stands for torch.cuda.Event."""

    def __init__(self, **kinds: bool) -> None:
        pass

    def record(self, stream: Stream | None = None) -> None:
        """Record nothing."""

    def synchronize(self) -> None:
        """Count a wait of the host."""
        Pretended.active().wait("an event is waited for")

    def query(self) -> bool:
        """Everything is done."""
        return True


class _On:
    """Stands for torch.cuda.stream and torch.cuda.device: the device is current inside."""

    def __init__(self, target: Any) -> None:
        device = target.device if isinstance(target, Stream) else target
        self.index = None if device is None else _whole(device).index

    def __enter__(self) -> Self:
        gpu = Pretended.active()
        self.before = gpu.current
        if self.index is not None and self.index >= 0:
            gpu.current = self.index
        return self

    def __exit__(self, *error: object) -> None:
        Pretended.active().current = self.before


def _whole(device: Any) -> torch.device:
    """A device with its number."""
    if isinstance(device, int):
        return torch.device("cuda", device)
    made = torch.device(device)
    if made.type == "cuda" and made.index is None:
        return torch.device("cuda", Pretended.active().current)
    return made


class Pretended:
    """The machine inside the context.

    Args:
        devices: GPUs, one or two.
        capabilities: their compute capabilities; (8, 0) and later have bfloat16 and TF32.

    Attributes:
        waits: how often each line made the host wait.
        step_waits: those inside a training step.
        recordings: CUDA graphs that were recorded, by device.
        replays: how often a graph was replayed.
        graphs: those that are not freed.
        broken: whether a recording failed. Then no cached memory is returned any more.
        side: the stream that a broken recording left current.
        lost: what every call answers once the GPU is lost to the process.
        living_when_emptied: tensors of the device at each call of torch.cuda.empty_cache.
        before: called with the name of each operation on the device, to look or to make it fail.
    """

    _entered: ClassVar[Pretended | None] = None

    def __init__(
        self, devices: int = 1, capabilities: Sequence[tuple[int, int]] = ((9, 0), (9, 0))
    ) -> None:
        self.devices, self.capabilities, self.current = devices, capabilities, 0
        self.waits: Counter[str] = Counter()
        self.step_waits: Counter[str] = Counter()
        self.recordings: Counter[int] = Counter()
        self.replays = self.operations = 0
        self.graphs = weakref.WeakSet[Graph]()
        self.before: Callable[[str], None] | None = None
        self.in_step = False
        self.lost = ""
        self.broken = False
        self.side: Stream | None = None
        self.memory: dict[int, weakref.ref[Tensor]] = {}  # torch swaps no tensor that has its own
        self.living_when_emptied: list[int] = []
        self.tape: Tape | None = None
        self.default_capture: torch.device | None = None
        self._pinned: dict[int, Tensor] = {}
        self._exits = ExitStack()

    @classmethod
    def active(cls) -> Pretended:
        """The context that is entered."""
        assert cls._entered is not None, "a tensor of the pretended device outlived it"
        return cls._entered

    # -- what torch asks for -------------------------------------------------------------------

    def do(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute one operation by the rules of CUDA."""
        name: str = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [t for t in tensors if isinstance(t, OnDevice)]
        asked = kwargs.get("device")
        home = _whole(asked) if _is_cuda(asked) else here[0].device if here else None
        if asked is not None and not _is_cuda(asked):
            home = None
        if name == "copy_":
            home = args[0].device if isinstance(args[0], OnDevice) else None
        if name in ("_pin_memory", "is_pinned"):
            home = None
        if home is None and not here:
            return self._on_host(func, args, kwargs, name)
        self._answer()
        if self.before is not None:
            self.before(name)
        self.operations += 1
        self._refuse_mixtures(name, args, kwargs, tensors, here)
        self._count_waits(name, args, kwargs, tensors, here, home)
        if str(func) in _SCATTERS and args[0].dim() > 1 and _is_deterministic():
            self.wait(f"{name} with a fixed order copies strides to the device")
        inner = dict(kwargs)
        if asked is not None:
            inner["device"] = torch.device("cpu")
        if inner.get("pin_memory"):
            inner["pin_memory"] = False
        plain_args, plain = tree_map_only(OnDevice, lambda t: t.host, (args, inner))
        tape = self.tape
        if tape is not None and (home or here[0].device) == tape.device:
            result = tape.take(func, plain_args, plain)
        else:
            result = func(*plain_args, **plain)
        if home is None:
            return result
        there = home
        wrapped = tree_map_only(Tensor, lambda t: OnDevice(t, there), result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if here else wrapped

    def _on_host(self, func: Any, args: Any, kwargs: dict[str, Any], name: str) -> Any:
        pins = name == "_pin_memory" or bool(kwargs.get("pin_memory"))
        if name == "is_pinned":
            return self.is_pinned(args[0])
        if not pins:
            return func(*args, **kwargs)
        if name == "_pin_memory":
            result = args[0].clone()
        else:
            result = func(*args, **{**kwargs, "pin_memory": False})
        self._pinned[result.untyped_storage().data_ptr()] = result
        return result

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether a tensor of the host lies in pinned memory."""
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _refuse_mixtures(
        self,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        tensors: Sequence[Tensor],
        here: Sequence[OnDevice],
    ) -> None:
        elsewhere = [t for t in tensors if not isinstance(t, OnDevice)]
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != "cuda":
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if name in _DRAWS and self.tape is not None:
            self._not_while_recording(f"{name} draws numbers")
        if name in _COPIES or not here:
            return
        if len({t.device for t in here}) > 1:
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, but found at least two "
                "devices, cuda:0 and cuda:1!"
            )
        if name in _INDEXES:
            if not isinstance(args[0], OnDevice):
                raise RuntimeError("indices should be either on cpu or on the same device")
            if any(t.dim() > 0 for t in elsewhere):
                self.wait("indexed by a tensor of the CPU")
        elif any(t.dim() > 0 for t in elsewhere):
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, but found at least two "
                "devices, cuda:0 and cpu!"
            )

    def _count_waits(
        self,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        tensors: Sequence[Tensor],
        here: Sequence[OnDevice],
        home: torch.device | None,
    ) -> None:
        if name in _COPIES and tensors:
            source = args[1] if name == "copy_" else args[0]
            leaves, arrives = isinstance(source, OnDevice), home is not None
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and any(args[2:3])))
            if isinstance(source, Tensor) and leaves != arrives:
                way = "a copy to the host" if leaves else "a copy to the device"
                pageable = arrives and not self.is_pinned(source)
                if self.tape is not None:
                    self._not_while_recording(way)
                if waits or pageable:
                    self.wait(f"{way}{' from pageable memory' if pageable else ''}")
        if not here:
            return
        if name == "_local_scalar_dense":
            self.wait("a number is read")
        masks = name in _INDEXES and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1] or ()
        )
        if masks and "put" in name and not isinstance(args[2], OnDevice):
            masks = args[2].numel() != 1  # one number of the CPU fills a mask without a wait
        if name in _SHAPED_BY_NUMBERS or masks:
            self.wait(f"{name}: its shape depends on numbers")

    # -- what is counted -----------------------------------------------------------------------

    def wait(self, why: str) -> None:
        """Count that the host waits for the device."""
        if self.tape is not None:
            self._not_while_recording(why)
        place = f"{why} at {_line()}"
        self.waits[place] += 1
        if self.in_step:
            self.step_waits[place] += 1

    def _not_while_recording(self, why: str) -> None:
        assert self.tape is not None
        self.tape.spoiled = True
        raise RuntimeError(
            f"CUDA error: operation not permitted when stream is capturing ({why} at {_line()})"
        )

    # -- the context ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        assert Pretended._entered is None
        Pretended._entered = self
        cuda = torch.cuda
        replaced: dict[str, Any] = {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: self.devices,
            "current_device": lambda: self.current,
            "set_device": self._set,
            "device": _On,
            "Stream": Stream,
            "Event": Event,
            "stream": _On,
            "current_stream": lambda device=None: self.side or Stream(device),
            "set_stream": self._set_stream,
            "default_stream": lambda device=None: Stream(device),
            "synchronize": lambda device=None: self._synchronize(),
            "get_device_name": lambda device=None: "Pretended",
            "get_device_capability": lambda device=None: self._capability(device),
            "is_bf16_supported": lambda including_emulation=True: self._capability() >= (8, 0),
            "empty_cache": self._empty_cache,
            "max_memory_allocated": lambda device=None: 0,
            "max_memory_reserved": lambda device=None: 0,
            "memory_allocated": lambda device=None: 0,
            "reset_peak_memory_stats": lambda device=None: None,
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: None,
            "CUDAGraph": Graph,
            "graph": recording.Recording,
        }
        for name, value in replaced.items():
            self._exits.enter_context(mock.patch.object(cuda, name, value))
        # the seeds of generators that are not here
        seeds = mock.patch.object(sys.modules["torch.cuda.random"], "_lazy_call", _nothing)
        self._exits.enter_context(seeds)
        # torch.amp asks for a build with CUDA, which this is not
        common = sys.modules["torch.cuda.amp.common"]
        always = mock.patch.object(common, "amp_definitely_not_available", lambda: False)
        self._exits.enter_context(always)
        self._exits.enter_context(_swapped_parameters())
        self._exits.enter_context(_Everything())  # type: ignore[no-untyped-call]
        self._exits.enter_context(_Functions())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()
        Pretended._entered = None
        assert error is not None or self.side is None, "the stream of a recording stayed current"

    def _answer(self) -> None:
        if self.lost:
            raise torch.AcceleratorError(self.lost)

    def _synchronize(self) -> None:
        self._answer()
        self.wait("the device is waited for")

    def _capability(self, device: Any = None) -> tuple[int, int]:
        return self.capabilities[self.current if device is None else _whole(device).index]

    def _empty_cache(self) -> None:
        self.living_when_emptied.append(len(self.memory))
        if self.broken:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    def _set_stream(self, stream: Stream) -> None:
        self.side = None

    def _set(self, device: Any) -> None:
        self.current = _whole(device).index


def _is_deterministic() -> bool:
    return torch.are_deterministic_algorithms_enabled()


def _nothing(*given: object, **named: object) -> None:
    """Do nothing."""


class _swapped_parameters:
    """Module.to(device) swaps the tensor of a parameter, whose `data` cannot change its kind."""

    def __enter__(self) -> None:
        torch.__future__.set_swap_module_params_on_conversion(True)

    def __exit__(self, *error: object) -> None:
        torch.__future__.set_swap_module_params_on_conversion(False)


def _line() -> str:
    """The line of the package, or of AutoAttack, that is being run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/ltat_tune/" in name or "/pyautoattack/" in name:
            return f"{name.rsplit('/', 2)[-2]}/{name.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "a line of torch's engine or of a test"
