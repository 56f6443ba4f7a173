"""What a loss may need to know of the training that it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import ConfigError
from medseg.shapes import IntTriple, Triple


@dataclass(frozen=True)
class Task:
    """Names of the channels and size of the voxels.

    Args:
        names: of the channels, background first; empty where a loss is built without a data set.
        spacing_mm: of the patches along X, Y, Z.
        patch: voxels along X, Y, Z; coarser outputs of deep supervision show the same patch with larger voxels.
    """

    names: tuple[str, ...] = ()
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    patch: IntTriple | None = None

    def spacing_of(self, shape: Sequence[int]) -> Triple:
        """Voxel size in mm of an output of this shape.

        >>> Task(spacing_mm=(1.0, 1.0, 3.0), patch=(64, 64, 16)).spacing_of((32, 32, 16))
        (2.0, 2.0, 3.0)
        """
        whole = self.patch or shape
        x, y, z = (mm * n / m for mm, n, m in zip(self.spacing_mm, whole, shape, strict=True))
        return x, y, z

    def index(self, name: int | str, *, where: str) -> int:
        """The channel of a class or region.

        Raises:
            ConfigError: there is none of this name or number, or it is the background.
        """
        if isinstance(name, int) and name > 0 and (not self.names or name < len(self.names)):
            return name
        if name in self.names[1:]:
            return self.names.index(str(name))
        raise ConfigError("no such structure", where=where, expected=", ".join(self.names[1:]) or "its number, from 1",
                          got=str(name))  # fmt: skip
