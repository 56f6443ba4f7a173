"""Fourier transforms of real images: scipy's on the CPU, whose bits do not depend on the number of threads (torch's do:
152 x 152 planes differed between 1 and 3 threads), torch's on other devices."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.fft
import torch
from torch import Tensor


def real_spectrum(image: Tensor, axes: Sequence[int]) -> Tensor:
    """Complex frequencies of a real image; the last of `axes` holds only those that are not negative."""
    if image.device.type != "cpu":
        return torch.fft.rfftn(image, dim=tuple(axes))
    return torch.from_numpy(scipy.fft.rfftn(image.numpy(), axes=axes))


def from_spectrum(spectrum: Tensor, lengths: Sequence[int], axes: Sequence[int]) -> Tensor:
    """The real image with `lengths` voxels along `axes`; what no real image can have in its spectrum is left out."""
    if spectrum.device.type != "cpu":
        return _from_spectrum_torch(spectrum, lengths, axes)
    return torch.from_numpy(scipy.fft.irfftn(spectrum.numpy(), s=lengths, axes=axes))


def _from_spectrum_torch(spectrum: Tensor, lengths: Sequence[int], axes: Sequence[int]) -> Tensor:
    # Axis by axis, with real ends, because libraries differ in what they make of a spectrum that no real image has.
    *others, last = axes
    half = torch.fft.ifftn(spectrum, dim=others) if others else spectrum.clone()
    half.imag.select(last, 0).zero_()
    if lengths[-1] % 2 == 0:
        half.imag.select(last, -1).zero_()
    return torch.fft.irfft(half, n=lengths[-1], dim=last)
