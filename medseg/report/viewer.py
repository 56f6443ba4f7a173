"""One case as an HTML file with a viewer inside: three linked planes and a rendering, everybody's outline, offline."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.imaging.geometry import Geometry
from medseg.report.overlay import TRUTH, Overlay, overlay_svg
from medseg.report.palette import Stroke, strokes
from medseg.report.viewer_volumes import Scene, ViewedCase, scene
from medseg.shapes import BoolArray

__all__ = ["Shown", "ToNifti", "ViewedCase", "render", "stills", "viewer_page", "window_of"]

ToNifti = Callable[[npt.NDArray[Any], Geometry], bytes]  # a NIfTI-1 file, packed or not
WINDOWS_HU = {  # lower and upper end of the grey values
    "soft tissue": (-160, 240),
    "liver": (-40, 160),
    "lung": (-1350, 150),
    "bone": (-500, 1500),
    "brain": (0, 80),
}
AIRY_HU = -500.0  # a crop whose median lies below is shown in the lung window
PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))


def viewer_page(
    viewed: ViewedCase, to_nifti: ToNifti, models: Iterable[str] = (), pens: Mapping[str, Stroke] | None = None
) -> str:
    """The page as HTML text: opens from disk, asks for nothing but itself, and shows still pictures without WebGL 2.

    Args:
        viewed: the case.
        to_nifti: turns an integer array (X, Y, Z) and its grid into a NIfTI-1 file.
        models: names that are models; they are drawn thickest.
        pens: stroke by name, so that a name keeps its colour on all pages of a report.
    """
    models = [name for name in models if name in viewed.masks]
    readers = [name for name in viewed.masks if name not in (*models, TRUTH)]
    drawn = _pens(viewed, readers, models, pens)
    found = scene(viewed, readers)
    roles = dict.fromkeys(readers, "reader") | dict.fromkeys(models, "model") | {TRUTH: "truth"}
    widths = dict(zip(readers, np.linspace(2.6, 1.4, num=len(readers)).round(2).tolist(), strict=True))
    names = [
        {"name": name, "role": roles[name], "width": widths.get(name, 4.0 if name in models else 1.6)} for name in drawn
    ]
    shown = Shown(viewed.case, viewed.title, found, drawn, names, _notes(found, readers))
    return render(shown, to_nifti, stills(shown, models))


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows.

    Args:
        case, title: as in `ViewedCase`.
        found: the volumes.
        pens: stroke by name.
        names: for each name its role and the width of its line.
        notes: sentences below the pictures.
        structures: whether the names are structures of one label map; else they are people and models.
    """

    case: str
    title: str
    found: Scene
    pens: Mapping[str, Stroke]
    names: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    structures: bool = False


def render(shown: Shown, to_nifti: ToNifti, pictures: Iterable[str]) -> str:
    """The page of what is shown, with pictures for browsers without WebGL 2."""
    found = shown.found
    volumes = {f"codes-{place}": codes for place, codes in enumerate(found.codes)} | {"share": found.share}
    volumes |= {} if found.hu is None else {"ct": found.hu}
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("viewer.html").render(
        case=shown.case,
        title=shown.title,
        structures=shown.structures,
        images="no images (outlines only)" if found.hu is None else "contains patient images",
        style=Markup(environment.get_template("style.css").render() + environment.get_template("viewer.css").render()),
        library=Markup(_library()),
        script=Markup((files("medseg.report") / "templates" / "viewer.js").read_text(encoding="utf-8")),
        volumes={name: _packed(to_nifti(array, found.geometry)) for name, array in volumes.items()},
        facts=_facts(shown),
        stills=[Markup(svg) for svg in pictures],
        notes=shown.notes,
    )  # fmt: skip


def _pens(
    viewed: ViewedCase, readers: list[str], models: list[str], given: Mapping[str, Stroke] | None
) -> dict[str, Stroke]:
    own = strokes(readers, models) | {TRUTH: Stroke("#ffffff", "1 3")}
    return {name: (given or {}).get(name, own[name]) for name in viewed.masks}


def _library() -> str:
    """NiiVue (BSD-2-Clause), with its licence in front."""
    vendor = files("medseg.report") / "vendor"
    licence = (vendor / "LICENSE.niivue").read_text(encoding="utf-8")
    return f"/*!\n{licence}*/\n" + (vendor / "niivue.umd.js").read_text(encoding="utf-8")


def _packed(nifti: bytes) -> str:
    """The file as base64 of gzip without a time stamp."""
    packed = nifti if nifti[:2] == b"\x1f\x8b" else gzip.compress(nifti, 6, mtime=0)
    return base64.b64encode(packed).decode()


def _facts(shown: Shown) -> dict[str, Any]:
    found = shown.found
    return {
        "shape": found.geometry.shape,
        "spacing": found.geometry.spacing_mm,
        "first": found.first,
        "whole": found.whole,
        "steps": found.steps,
        "start": found.start,
        "hasImage": found.hu is not None,
        "structures": shown.structures,
        "windows": [[name, *ends] for name, ends in WINDOWS_HU.items()],
        "window": window_of(found, marked=shown.structures),
        "names": [
            {
                **name,
                "colour": shown.pens[name["name"]].colour,
                "dash": [float(length) for length in shown.pens[name["name"]].dash.split()],
                "ml": round(found.volumes_ml[name["name"]], 3),
                "box": _limits(found.masks[name["name"]]),
            }
            for name in shown.names
        ],
    }


def window_of(found: Scene, *, marked: bool = False) -> str:
    """The window in which grey values are shown first, by their median in the crop or where something is marked."""
    if found.hu is None:
        return "soft tissue"
    inside = found.hu[found.share > 0] if marked and found.share.any() else found.hu
    return "lung" if np.median(inside) < AIRY_HU else "soft tissue"


def _limits(mask: BoolArray) -> list[list[int]]:
    """First voxel and the one behind the last along each axis; zeros where nothing is marked."""
    limits = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        limits.append([int(marked[0]), int(marked[-1]) + 1] if marked.size else [0, 0])
    return limits


def stills(shown: Shown, models: Iterable[str] = ()) -> list[str]:
    """The three planes that the viewer shows first, as pictures; of structures those that the plane meets."""
    found, pictures = shown.found, []
    for plane, axis in PLANES:
        kept = [other for other in range(3) if other != axis]
        masks = {name: _page(mask, axis, found.start[axis]) for name, mask in found.masks.items()}
        if shown.structures:
            masks = {name: mask for name, mask in masks.items() if mask.any()} or dict([*masks.items()][:1])
        hu = None if found.hu is None else _page(found.hu, axis, found.start[axis])
        pixel_mm = found.geometry.spacing_mm[kept[1]], found.geometry.spacing_mm[kept[0]]
        # of people and models, the still picture has its own dots for the truth
        given = {name: pen for name, pen in shown.pens.items() if name != TRUTH or shown.structures}
        pictures.append(overlay_svg(Overlay(shown.case, plane, masks, pixel_mm, hu), models, given))
    return pictures


def _page(array: npt.NDArray[Any], axis: int, place: int) -> npt.NDArray[Any]:
    """A plane as rows from top (front) to bottom (back) and columns from the patient's right (front) on."""
    return np.take(array, place, axis=axis)[::-1, ::-1].T


def _notes(found: Scene, readers: list[str]) -> list[str]:
    notes = ["Cropped around all outlines. Lines run half-way between marked and unmarked voxels."]
    if max(found.steps) > 1:
        notes.append(
            "Shown at half resolution along " + ", ".join("XYZ"[axis] for axis in range(3) if found.steps[axis] > 1)
            + " (mean of the grey values, majority of the voxels); the scores were computed at full resolution."
        )  # fmt: skip
    if readers:
        notes.append(f"The map shows the share of {len(readers)} readers who marked a voxel.")
    return notes
