"""Both ways to compute a Fourier transform give the same, and there and back is the image."""

import pytest
import torch

from medseg.transforms.fourier import from_spectrum, real_spectrum


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (2, 5, 4, 1), (1, 1, 7, 2), (1, 1, 1, 1)])
def test_there_and_back_is_the_image(shape):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    spectrum = real_spectrum(image, (1, 2))
    torch.testing.assert_close(spectrum, torch.fft.rfft2(image, dim=(1, 2)))
    back = from_spectrum(spectrum, shape[1:3], (1, 2))
    torch.testing.assert_close(back, image)
    assert back.dtype == torch.float32
