"""Where the readings of a comparison come from: a data set with predictions, bare folders or a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.errors import UsageError
from medseg.io.manifest import Dataset
from medseg.workflows.agreement_options import AgreementOptions
from medseg.workflows.readings import (
    Models,
    ReadingOptions,
    Readings,
    dataset_readings,
    folder_readings,
    manifest_readings,
    open_dataset,
)


@dataclass(frozen=True)
class Input:
    """One of the three; see `agree`."""

    dataset: Dataset | str | Path | None = None
    predictions: Models = None
    raters: str | Path | None = None
    model: Models = None
    manifest: str | Path | None = None

    def readings(self, asked: AgreementOptions, reading: ReadingOptions) -> Readings:
        """The readings; nothing is read yet.

        Raises:
            UsageError: none of the three, two of them, or an argument that belongs to another.
            FileReadError, GeometryError, LabelError, ConfigError: see `medseg.workflows.readings`.
        """
        self._check(asked)
        missing = asked.allow_missing
        if self.manifest is not None:
            return manifest_readings(self.manifest, allow_missing=missing, options=reading)
        if self.raters is not None:
            return folder_readings(self.raters, self.model, allow_missing=missing, options=reading)
        assert self.dataset is not None
        dataset = open_dataset(self.dataset)
        return dataset_readings(dataset, self.predictions, split=asked.split, allow_missing=missing, options=reading)

    def _check(self, asked: AgreementOptions) -> None:
        if sum(given is not None for given in (self.dataset, self.raters, self.manifest)) != 1:
            raise UsageError("nothing to compare, or two inputs",
                             expected="one of DATASET PREDICTIONS, --raters DIR and --manifest FILE")  # fmt: skip
        if self.dataset is None and (asked.split is not None or self.predictions is not None):
            raise UsageError("bare folders and manifests have no splits and no predictions folder",
                             expected="--raters and --model, or --manifest alone")  # fmt: skip
        if self.raters is None and self.model is not None:
            raise UsageError("--model belongs to --raters",
                             expected="DATASET PREDICTIONS, or models in the manifest")  # fmt: skip
