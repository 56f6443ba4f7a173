"""Patch sizes that a network can be trained on."""

from __future__ import annotations

from math import prod

from medseg.errors import ConfigError
from medseg.shapes import IntTriple


def check_patch(network: str, patch: IntTriple, multiple: IntTriple, *, deepest: int = 2) -> None:
    """Refuses a patch that the network cannot halve, or of which too little is left at its deepest level.

    A norm over one single voxel is that voxel minus itself: torch refuses it for some layers and gives zeros for
    others, and a network of such zeros learns nothing at its deepest level.

    Args:
        network: as recipes name it.
        patch: voxels along X, Y, Z.
        multiple: by how much the deepest level is smaller along X, Y, Z.
        deepest: how many voxels must be left there, in all.

    Raises:
        ConfigError: says what would fit.
    """
    if any(n < 1 or n % step for n, step in zip(patch, multiple, strict=True)):
        raise ConfigError(f"{network} cannot take a patch of {_times(patch)} voxels", where="plan.patch",
                          expected=f"multiples of {_times(multiple)}")  # fmt: skip
    left = prod(n // step for n, step in zip(patch, multiple, strict=True))
    if left < deepest:
        x, y, z = multiple
        raise ConfigError(
            f"a patch of {_times(patch)} voxels is too small for {network}: {left} voxel is left at its deepest level",
            where="plan.patch",
            expected=f"at least {_times((deepest * x, y, z))}, in any order",
            do="Choose a larger patch or a network of fewer levels.",
        )


def _times(shape: IntTriple) -> str:
    return " x ".join(map(str, shape))
