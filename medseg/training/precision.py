"""Whether 3-D convolutions in bf16 are right and fast on this device, measured before training trusts them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv3d

Convolution = Callable[[Tensor, Tensor], Tensor]  # of an image (B, C, X, Y, Z) and a kernel (D, C, 3, 3, 3)
Stopwatch = Callable[[Callable[[], None], torch.device], float]

LARGEST_ERROR = 0.02  # of the norm; the rounding of bf16 gives 0.003
LARGEST_TIME = 1.1  # of fp32
TYPICAL = ((2, 32, (64, 64, 64)), (2, 128, (16, 16, 16)))  # batch, channels, voxels along X, Y, Z
TINY = ((2, 320, (4, 4, 4)), (1, 64, (2, 2, 2)), (2, 32, (8, 8, 1)))


@dataclass(frozen=True)
class PrecisionCheck:
    """What a comparison of bf16 with fp32 found.

    Args:
        error: largest relative error of a convolution's output or weight gradient; NaN or infinite where one is.
        time: of bf16 over that of fp32, forward and weight gradient on typical feature maps.
    """

    error: float
    time: float

    @property
    def passed(self) -> bool:
        return self.error <= LARGEST_ERROR and self.time <= LARGEST_TIME

    @property
    def sentence(self) -> str:
        """What follows for the training."""
        if self.passed:
            return (f"Precision: bf16; its 3-D convolutions differ from fp32 by {self.error:.1%} and take "
                    f"{self.time:.2f} times as long.")  # fmt: skip
        if not self.error <= LARGEST_ERROR:
            return (f"Precision: fp32; 3-D convolutions in bf16 are wrong on this device and torch release "
                    f"(relative error {self.error:.2g}, at most {LARGEST_ERROR:g} is rounding).")  # fmt: skip
        return (f"Precision: fp32; 3-D convolutions in bf16 take {self.time:.1f} times as long as in fp32 on this "
                "device and torch release.")  # fmt: skip


def padded_convolution(image: Tensor, kernel: Tensor) -> Tensor:
    """The convolution that networks are made of."""
    return conv3d(image, kernel, padding=1)


def stopwatch(run: Callable[[], None], device: torch.device) -> float:
    """Least seconds of five runs after two that warm up."""
    seconds = []
    for _ in range(7):
        _finish(device)
        start = time.perf_counter()
        run()
        _finish(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])


def check_bf16(
    device: torch.device, convolution: Convolution = padded_convolution, seconds: Stopwatch = stopwatch
) -> PrecisionCheck:
    """Compares bf16 with fp32 in value, on typical and on tiny feature maps, and in time, on typical ones.

    Releases of torch and cuDNN have had bf16 3-D convolutions with wrong or non-finite weight gradients on small
    feature maps, and ones several times slower than fp32. Takes about a second.

    Args:
        device: to compare on.
        convolution: what is compared.
        seconds: measures the time of a call.
    """
    errors, times = [0.0], {torch.float32: 0.0, torch.bfloat16: 0.0}
    for batch, channels, voxels in (*TYPICAL, *TINY):
        given = _given(device, batch, channels, voxels)
        errors.append(_error(convolution, given))
        if (batch, channels, voxels) in TYPICAL:
            for kind in times:
                cast = [tensor.to(kind) for tensor in given]
                times[kind] += seconds(lambda cast=cast: _discard(_results(convolution, *cast)), device)
    worst = max(errors) if all(error == error for error in errors) else float("nan")
    return PrecisionCheck(worst, times[torch.bfloat16] / max(times[torch.float32], 1e-9))


def _given(device: torch.device, batch: int, channels: int, voxels: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Image, kernel and slope of the output, with values that bf16 can hold exactly."""
    numbers = torch.Generator().manual_seed(channels)
    shapes = (batch, channels, *voxels), (channels, channels, 3, 3, 3), (batch, channels, *voxels)
    drawn = (torch.randn(shape, generator=numbers) for shape in shapes)
    image, kernel, slope = (tensor.bfloat16().float().to(device) for tensor in drawn)
    return image, (kernel / 8).bfloat16().float(), slope


def _error(convolution: Convolution, given: tuple[Tensor, ...]) -> float:
    """Largest relative error of output and weight gradient."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
        exact = _results(convolution, *given)
    rounded = _results(convolution, *(tensor.bfloat16() for tensor in given))
    return max(
        (float((mine.float() - theirs).norm() / theirs.norm()) for mine, theirs in zip(rounded, exact, strict=True)),
        key=lambda error: float("inf") if error != error else error,
    )


def _results(convolution: Convolution, image: Tensor, kernel: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Output and weight gradient."""
    kernel = kernel.detach().requires_grad_()
    output = convolution(image, kernel)
    (gradient,) = torch.autograd.grad(output, kernel, slope.to(output.dtype))
    return output.detach(), gradient


def _discard(results: tuple[Tensor, Tensor]) -> None:
    """A timed call gives nothing back."""


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
