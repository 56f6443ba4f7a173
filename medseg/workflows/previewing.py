"""`medseg augment-preview`: what a set of transforms makes of one case, to be looked at before training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.config import build_config, nearest
from medseg.errors import OutputExistsError, UsageError
from medseg.files import write_text
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.imaging.regions import Reading
from medseg.imaging.resample import resample_linear
from medseg.imaging.volume import Volume
from medseg.io import manifest
from medseg.io.readers import find_reader
from medseg.preprocessing.standardise import standardise_labels
from medseg.report.png import WINDOW_HU
from medseg.report.preview_page import GENERATOR, Panel, Preview, Row, preview_page
from medseg.report.preview_views import Scene, build_scene, preview_grid, views, where_it_acts
from medseg.report.preview_words import told, told_of
from medseg.shapes import FloatArray, IntArray, Triple
from medseg.transforms import Pipeline, TransformsConfig, WindowConfig, WindowHu, build_pipeline
from medseg.transforms.contrast_phase import ContrastPhaseConfig
from medseg.transforms.entries import checked_spacing
from medseg.transforms.registry import AnyStep
from medseg.workflows.recipe import read_recipe

SINGLE_SAMPLES = 2


@dataclass(frozen=True)
class Subject:
    """The case to look at, on the grid of the preview, HU and class indices."""

    id: str
    volume: Volume
    readings: Mapping[str, IntArray]
    labels: LabelSet

    @property
    def sample(self) -> dict[Hashable, Any]:
        """As a transform takes it."""
        spacing = self.volume.geometry.spacing_mm
        image: dict[Hashable, Any] = {"image": torch.from_numpy(self.volume.hu)[None], "spacing_mm": spacing}
        if not self.readings:
            return image
        return image | {"labels": torch.from_numpy(np.stack([*self.readings.values()]))}


def augment_preview(
    source: str | Path,
    *,
    out: str | Path,
    preset: str | None = None,
    recipe: str | Path | None = None,
    case: str | None = None,
    steps: Sequence[str] | None = None,
    samples: int = 6,
    seed: int = 0,
    spacing_mm: Triple | None = None,
    images: bool = True,
    **reading: Any,
) -> Path:
    """Writes a self-contained HTML page with the case, samples of the whole set, and every transform by itself.

    Args:
        source: an image (NIfTI file, DICOM folder or another kind of `READERS`), shown without labels; or a data set,
            whose case is shown with every reader's labels.
        out: the page; an older preview is replaced.
        preset: name of a set, by default `ct_default`.
        recipe: a recipe whose `transforms` are shown instead.
        case: id of the data set's case; by default its first.
        steps: names of the transforms that are shown one by one; by default all of the set.
        samples: of the whole set.
        seed: the same one gives the same page.
        spacing_mm: grid on which the transforms act; by default the study's own, made coarser above 4 million voxels.
        images: whether slices are drawn; without them outlines stand on white.
        reading: options for the reader of an image, such as `series` or `nan_hu`.

    Raises:
        UsageError: both preset and recipe are given, or `case` or `steps` name what is not there.
        ConfigError: no such preset, or a fault in the recipe.
        OutputExistsError: `out` is a file of another kind; nothing has been read then.
        GeometryError: `spacing_mm` is no three positive lengths.
        FileReadError, GeometryError, LabelError, VoxelError, DicomError: see the readers.
    """
    _check_page_path(Path(out))
    spacing_mm = None if spacing_mm is None else checked_spacing(spacing_mm)
    config, name = _config(preset, recipe)
    _check_names(config, steps)
    subject = _subject(Path(source), case, spacing_mm, reading)
    config, note = _possible(config, subject)
    scene = build_scene(subject.volume, subject.readings, subject.labels, _shown(config), images)
    page = Preview(
        _facts(subject, name, seed),
        scene,
        _panel(scene, _pipeline(config.at_inference(), subject), subject, (seed, 0)),
        _whole(scene, config, subject, samples, seed, note),
        [_row(scene, config, place, subject, seed) for place in _single(config, steps)],
    )
    write_text(out, preview_page(page))
    return Path(out)


def _check_page_path(path: Path) -> None:
    if path.is_dir() or (path.exists() and GENERATOR.encode() not in path.read_bytes()[:2000]):
        raise OutputExistsError("the page would replace something that is no preview", where=path.name,
                                do="Choose another name for --out.")  # fmt: skip


def _config(preset: str | None, recipe: str | Path | None) -> tuple[TransformsConfig, str]:
    """The set of transforms, and what it is called on the page."""
    if preset is not None and recipe is not None:
        raise UsageError("both a preset and a recipe", expected="one of --preset and --recipe")
    if recipe is not None:
        return read_recipe(recipe).transforms, f"recipe {Path(recipe).name}"
    name = preset or "ct_default"
    return build_config(TransformsConfig, {"preset": name}, source="--preset"), name


def _check_names(config: TransformsConfig, names: Sequence[str] | None) -> None:
    known = list(dict.fromkeys(step.name for step in config.complete()))
    for name in names or ():
        if name not in known:
            raise UsageError(f"the set has no '{name}'{nearest(name, known)}", where="--steps",
                             expected=", ".join(known) or "nothing")  # fmt: skip


def _possible(config: TransformsConfig, subject: Subject) -> tuple[TransformsConfig, str]:
    """The steps that this case allows, and a sentence about those that it does not."""
    steps = config.complete()
    kept = tuple(step for step in steps if subject.readings or not isinstance(step, ContrastPhaseConfig))
    if len(kept) == len(steps):
        return config, ""
    return TransformsConfig(preset="none", steps=kept), "Without contrast phase, which needs labels."


def _single(config: TransformsConfig, names: Sequence[str] | None) -> list[int]:
    """Places of the steps that are shown one by one: those named, else all that can act."""
    steps = config.complete()
    if names is not None:
        return [place for place, step in enumerate(steps) if step.name in names]
    return [place for place, step in enumerate(steps) if step.probability > 0 and not _is_fixed(step)]


def _is_fixed(step: AnyStep) -> bool:
    return isinstance(step, WindowConfig) and not step.jitter_hu


def _shown(config: TransformsConfig) -> tuple[float, float]:
    """What is drawn black and white: the two ends that the window step puts out, else a soft-tissue window in HU."""
    return next((step.output for step in config.complete() if isinstance(step, WindowConfig)), WINDOW_HU)


def _subject(source: Path, case: str | None, spacing_mm: Triple | None, reading: Mapping[str, Any]) -> Subject:
    is_dataset = source.name == manifest.FILE_NAME or (source / manifest.FILE_NAME).is_file()
    if not is_dataset:
        if case is not None:
            raise UsageError("--case means nothing for a single image", expected="a data set")
        reader = find_reader(source)
        reader.check(reading)
        return _on_grid(reader.case_id(source), reader.read(source, **reading), {}, LabelSet({BACKGROUND: 0}),
                        spacing_mm)  # fmt: skip
    dataset = manifest.read_dataset(source)
    if not dataset.cases:
        raise UsageError("the data set has no case", where=manifest.FILE_NAME)
    entry = dataset.cases[0] if case is None else dataset.entry(case)
    readings = {rater: manifest.read_reading(dataset, entry, rater) for rater in entry.raters}
    return _on_grid(entry.id, manifest.read_image(dataset, entry), readings, dataset.labels, spacing_mm)


def _on_grid(
    case: str, volume: Volume, readings: Mapping[str, Reading], labels: LabelSet, spacing_mm: Triple | None
) -> Subject:
    grid = preview_grid(volume.geometry, spacing_mm)
    indices = {rater: standardise_labels(reading, grid) for rater, reading in readings.items()}
    hu = np.ascontiguousarray(resample_linear(volume.hu, volume.geometry, grid))
    return Subject(case, Volume(hu, grid), indices, labels)


def _facts(subject: Subject, name: str, seed: int) -> list[tuple[str, str]]:
    grid = subject.volume.geometry
    return [
        ("case", subject.id),
        ("transforms", name),
        ("voxels", " x ".join(map(str, grid.shape))),
        ("spacing in mm", " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)),
        ("seed", str(seed)),
    ]


def _pipeline(config: TransformsConfig, subject: Subject) -> Pipeline:
    return build_pipeline(config, mirror_pairs=subject.labels.mirror_indices, allow_missing_keys=True)


def _panel(
    scene: Scene, pipeline: Pipeline, subject: Subject, seed: Sequence[int], *, plain: FloatArray | None = None
) -> Panel:
    """One sample.

    Args:
        plain: the image without the one transform that is shown, so that the planes can follow it; None where there are
            several transforms, whose names then stand before their parameters.
    """
    grid = subject.volume.geometry
    drawn = pipeline.sample(grid.shape, grid.spacing_mm, seed)
    result = pipeline.apply(subject.sample, drawn)
    readings = result["labels"].numpy() if subject.readings else ()
    lines = [
        told_of(name, params) if plain is None else ", ".join(told(params))
        for (name, transform), params in zip(pipeline.transforms, drawn, strict=True)
        if params is not None and not (isinstance(transform, WindowHu) and _is_fixed(transform.config))
    ]
    image = result["image"][0].numpy()
    if plain is not None:
        scene, moved = where_it_acts(scene, plain, image)
        lines += [f"shown where it acts: {', '.join(moved)}"] if moved else []
    return Panel(views(scene, image, readings), tuple(filter(None, lines)))


def _whole(scene: Scene, config: TransformsConfig, subject: Subject, samples: int, seed: int, note: str) -> Row:
    pipeline = _pipeline(config, subject)
    panels = [_panel(scene, pipeline, subject, (seed, draw)) for draw in range(samples)]
    return Row(f"{samples} samples of the whole set", tuple(panels), f"Every transform at its own probability. {note}")


def _row(scene: Scene, config: TransformsConfig, place: int, subject: Subject, seed: int) -> Row:
    """One transform by itself, made to act, with the window step in its place so that the grey values are true."""
    steps = config.complete()
    step = steps[place]
    kept = tuple(
        other.model_copy(update={"probability": 1.0}) if other is step else other.model_copy(update={"jitter_hu": 0.0})
        for other in steps
        if other is step or isinstance(other, WindowConfig)
    )
    pipeline = _pipeline(TransformsConfig(preset="none", steps=kept), subject)
    plain = _pipeline(config.at_inference(), subject)(subject.sample, seed=(seed,))["image"][0].numpy()
    panels = [_panel(scene, pipeline, subject, (seed, draw), plain=plain) for draw in range(SINGLE_SAMPLES)]
    return Row(step.name.replace("_", " "), tuple(panels), f"probability {step.probability:g}")
