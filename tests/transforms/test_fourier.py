"""Both ways to compute a Fourier transform give the same, and there and back is the image."""

import pytest
import torch

from medseg.transforms.fourier import _from_spectrum_torch, from_spectrum, real_spectrum


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (2, 5, 4, 1), (1, 1, 7, 2), (1, 1, 1, 1)])
def test_there_and_back_is_the_image(shape):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    spectrum = real_spectrum(image, (1, 2))
    torch.testing.assert_close(spectrum, torch.fft.rfft2(image, dim=(1, 2)))
    back = from_spectrum(spectrum, shape[1:3], (1, 2))
    torch.testing.assert_close(back, image)
    assert back.dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (2, 5, 4, 1), (1, 1, 7, 2), (1, 6, 1, 2)])
def test_torch_makes_the_same_of_a_spectrum_that_no_real_image_has(shape):
    c, x, y, z = shape
    spectrum = torch.randn((c, x, y // 2 + 1, z), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_from_spectrum_torch(spectrum, (x, y), (1, 2)), from_spectrum(spectrum, (x, y), (1, 2)))
    along_y = from_spectrum(spectrum, (y,), (2,))
    torch.testing.assert_close(_from_spectrum_torch(spectrum, (y,), (2,)), along_y)
