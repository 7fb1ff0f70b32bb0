"""What goes wrong with a GPU in a worker: memory runs out, or the GPU no longer answers."""

from __future__ import annotations

import gc
import traceback

from ltat_tune.errors import GPULost

# Libraries report that they got no memory in their own ways; cuBLAS cannot even begin without.
_NO_MEMORY = (
    "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it came from, says that the GPU's memory is full."""
    import torch

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.OutOfMemoryError):
            return True
        if isinstance(seen, RuntimeError) and any(text in str(seen) for text in _NO_MEMORY):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def check_gpu(error: BaseException) -> None:
    """Check that the GPU still answers after an error.

    A kernel that read beyond its memory, among others, leaves the process without a GPU: CUDA
    answers every further call with the same error.

    Raises:
        GPULost: it does not.
    """
    import torch

    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as refused:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise GPULost(f"the GPU no longer answers this process ({reason[0]})") from refused


def give_back_memory(error: BaseException | None = None) -> None:
    """Return the GPU's memory to the other processes: this one waits for its next task.

    An error that is on its way holds the tensors of the functions that it came through.
    """
    import torch

    from ltat_tune.attacks.replays import return_cached_memory

    if not torch.cuda.is_initialized():
        return
    if error is not None:
        traceback.clear_frames(error.__traceback__)
    gc.collect()
    # no recording is left, whose kernels would go on writing to them
    getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
    return_cached_memory()
