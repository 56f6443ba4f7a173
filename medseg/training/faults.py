"""Where in a network numbers stopped being finite, and how many patches fit into the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import ENOMEM

import torch
from torch import Tensor, nn

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "MemoryError")


def first_nonfinite(model: nn.Module, forward: Callable[[], object]) -> str:
    """The first layer whose output is not finite while `forward` runs, in words; empty when all are.

    Args:
        forward: runs `model` once, as the failed step did.
    """
    found: list[str] = []

    def look(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(module: nn.Module, given: object, output: object) -> None:
            if not found and not all_finite(output):
                ours = [key for key, weight in module.named_parameters(recurse=False) if not all_finite(weight)]
                cause = f", whose {ours[0]} is not finite" if ours else ""
                found.append(f"layer {name or 'of the output'} ({type(module).__name__}){cause}")

        return note

    hooks = [module.register_forward_hook(look(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def nonfinite_gradient(model: nn.Module) -> str:
    """The first parameter, from the output backwards, whose gradient is not finite; empty when all are."""
    for name, weight in reversed(list(model.named_parameters())):
        if weight.grad is not None and not all_finite(weight.grad):
            return f"the gradient of {name}"
    return ""


def all_finite(output: object) -> bool:
    """Whether every number of a tensor, or of tensors in lists, is finite; what holds no tensor is."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors_in(output))


def tensors_in(output: object) -> Iterator[Tensor]:
    """The tensors of a network's output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for part in output:
            yield from tensors_in(part)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: CUDA's, the CPU's, or a library's below, here or in a process of the loader.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):  # of the operating system, when it is to start a process of the loader
        return error.errno == ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def is_lost_worker(error: BaseException) -> bool:
    """Whether a process of the loader was ended from outside, as the kernel does where memory runs out.

    >>> is_lost_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    True
    """
    return isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error)


def largest_that_fits(patches: int, attempt: Callable[[int], None]) -> int:
    """The largest number of patches, below `patches`, with which `attempt` does not run out of memory; found by trying.

    >>> def attempt(patches):
    ...     if patches > 5:
    ...         raise MemoryError
    >>> largest_that_fits(8, attempt)
    5
    """
    fits, fails = 0, patches
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _succeeds(attempt, middle):
            fits = middle
        else:
            fails = middle
    return fits


def _succeeds(attempt: Callable[[int], None], patches: int) -> bool:
    try:
        attempt(patches)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        succeeded = False
    else:
        succeeded = True
    release_memory()  # not in the handler: its traceback would hold the tensors
    return succeeded


def release_memory() -> None:
    """Gives cached blocks of the device back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def same_random_numbers(device: torch.device) -> Iterator[None]:
    """The block draws the numbers that come next, and afterwards they come next once more."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
