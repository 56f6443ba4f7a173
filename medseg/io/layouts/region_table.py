"""Regions as nnU-Net declares them: unions of label values that are learned and judged as one structure each.

The label files hold plain integers; the table beside the data set (`regions.yaml`) keeps what the integers make up.
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/region_based_training.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from medseg.config import Config, dump_yaml, read_config
from medseg.errors import LabelError
from medseg.files import write_text

FILE_NAME = "regions.yaml"


class RegionsFile(Config):
    """What stands in a `regions.yaml`."""

    regions: dict[str, tuple[int, ...]] = Field(min_length=1)
    class_order: tuple[int, ...] = ()


@dataclass(frozen=True)
class RegionTable:
    """Named unions of label values.

    Args:
        values: region to the label values that it unites, in the order declared.
        class_order: nnU-Net's `regions_class_order`: the value painted for each region, later ones over earlier ones;
            empty when the source does not give it.
    """

    values: Mapping[str, tuple[int, ...]]
    class_order: tuple[int, ...] = ()

    def renumbered(self, table: Mapping[int, int]) -> RegionTable:
        """The same regions in other label values.

        Raises:
            LabelError: a region holds a value that `table` does not know.
        """
        used = {value for values in [*self.values.values(), self.class_order] for value in values}
        if unknown := sorted(used - set(table)):
            raise LabelError("regions of values that the labels do not know", where=FILE_NAME,
                             got=", ".join(map(str, unknown)), do="Correct the file, or delete it.")  # fmt: skip
        regions = {name: tuple(table[value] for value in values) for name, values in self.values.items()}
        return RegionTable(regions, tuple(table[value] for value in self.class_order))


def write_regions(folder: Path, regions: RegionTable) -> None:
    """Writes `regions.yaml` beside a data set."""
    data = {"regions": {name: list(values) for name, values in regions.values.items()}}
    write_text(folder / FILE_NAME, dump_yaml(data | {"class_order": list(regions.class_order)}))


def read_regions_table(folder: Path) -> RegionTable | None:
    """The regions beside a data set, or None when there is no `regions.yaml`.

    Raises:
        FileReadError, ConfigError: the file is damaged.
    """
    if not (folder / FILE_NAME).is_file():
        return None
    content = read_config(folder / FILE_NAME, RegionsFile)
    return RegionTable(content.regions, content.class_order)
