"""Draws the pictures of docs/transforms.md: every transform on the same slice of a real CT.

    python docs/images/transforms/draw.py ../shared/data
    python docs/images/transforms/draw.py ../shared/data --only affine elastic

The folder holds `totalseg/` (the case that is shown) and `sts_nifti/` (another patient, where an occlusion wants one).
One PNG for each transform, the slice before and after side by side, and `drawn.json` with the parameters in words.
Licences: ATTRIBUTION.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage.measure import find_contours
from torch import Tensor

from medseg.imaging.geometry import reorient
from medseg.io.nifti import read_label_values, read_volume
from medseg.report.palette import GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from medseg.report.preview_words import told
from medseg.transforms import TransformsConfig, WindowConfig, build_pipeline, window_image
from medseg.transforms.registry import EVERY_STEP

HERE = Path(__file__).parent
ORGANS = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver", 6: "stomach", 7: "pancreas"}
COLOURS = (PURPLE, SKY, VERMILION, GREEN, YELLOW, ORANGE)
MIRROR_PAIRS = ((2, 3),)  # class indices of the kidneys
INKS = [int(colour[place : place + 2], 16) for colour in COLOURS for place in (1, 3, 5)]
LEVEL, FRONT, ZOOM, GAP, GREYS, DRAWS = 13, 45, 2, 4, 40, 8
CORONAL = ("thick_slices", "missing_slices")
BEFORE = ("bias_field",)  # its default measures from air in HU
SQUARE = ("rot90", "transpose")  # which exchange axes of equal length only
SHOWN: dict[str, dict[str, Any]] = {
    "window": {"window_hu": (-1000.0, 400.0)},  # the others already use the default one
    "gradient": {"strength": (0.2, 1.0)},  # the default is made for images of unit deviation, not for 0 to 1
}


def read_case(data: Path) -> dict[str, Any]:
    """The abdomen of TotalSegmentator's example with six of its organs, and a donor of other tissue."""
    volume = read_volume(data / "totalseg" / "example_ct_sm.nii.gz")
    values, grid = read_label_values(data / "totalseg" / "example_seg.nii.gz")
    target = volume.geometry.canonical()
    labels = np.zeros(target.shape, np.int16)
    for index, value in enumerate(ORGANS, 1):
        labels[reorient(values, grid, target) == value] = index
    donor = read_volume(data / "sts_nifti" / "STS_014" / "CT_image.nii.gz")
    return {
        "image": torch.from_numpy(reorient(volume.hu, volume.geometry, target).copy())[None],
        "labels": torch.from_numpy(labels)[None],
        "donor": torch.from_numpy(donor.hu.copy())[None],
        "spacing_mm": target.spacing_mm,
    }


def squared(case: dict[str, Any]) -> dict[str, Any]:
    """The middle of the case, as wide as it is deep."""
    x, y = case["image"].shape[1:3]
    box = slice((x - y) // 2, (x - y) // 2 + y)
    return case | {key: case[key][:, box] for key in ("image", "labels")}


def picture(image: Tensor, labels: Tensor, name: str) -> Image.Image:
    """The slice as radiologists see it, values 0 to 1 as grey, with the outlines of the organs."""
    values, plane = (cut(array, name).numpy().T[::-1, ::-1] for array in (image, labels))
    large = (values.shape[1] * ZOOM, values.shape[0] * ZOOM)
    grey = np.asarray(Image.fromarray(values.astype(np.float32)).resize(large, Image.Resampling.BICUBIC))
    shown = Image.fromarray((grey * GREYS).clip(0, GREYS - 1).astype(np.uint8), "P")
    shown.putpalette([level * 255 // (GREYS - 1) for level in range(GREYS) for _ in "RGB"] + INKS)
    pen = ImageDraw.Draw(shown)
    for index in range(1, len(COLOURS) + 1):
        for line in find_contours(np.pad(plane == index, 1).astype(float), 0.5):
            pen.line([(float(x - 0.5) * ZOOM, float(y - 0.5) * ZOOM) for y, x in line], fill=GREYS + index - 1)
    return shown


def cut(volume: Tensor, name: str) -> Tensor:
    """The plane on which a transform is seen: coronal for what happens to slices, else axial."""
    return volume[0, :, FRONT] if name in CORONAL else volume[0, ..., min(LEVEL, volume.shape[3] - 1)]


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one palette with a white gap."""
    both = Image.new("P", (left.width + GAP + right.width, max(left.height, right.height)), GREYS - 1)
    both.putpalette(left.getpalette() or [])
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def draw(step: Any, case: dict[str, Any]) -> tuple[Image.Image, str]:
    """The case before and after a transform at its default settings, made to act; and what it drew, in words.

    Of a few draws the one that changes the slice most, because the middle of a mild range can hardly be seen.
    """
    step = step.model_copy(update={"probability": 1.0, **SHOWN.get(step.name, {})})
    case = squared(case) if step.name in SQUARE else case
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=_steps(step)), mirror_pairs=MIRROR_PAIRS)
    still = window_image(case["image"])
    draws = [pipeline.sample(case["image"].shape[1:], case["spacing_mm"], (0, seed)) for seed in range(DRAWS)]
    results = [(pipeline.apply(case, params), params) for params in draws]
    strongest = [_change(result["image"], still, step.name) for result, _ in results]
    result, params = results[int(np.argmax(strongest))]
    before = picture(still, case["labels"], step.name)
    own = params[_steps(step).index(step)]
    return beside(before, picture(result["image"], result["labels"], step.name)), ", ".join(
        told(own)
    ) if own is not None else ""


def _steps(step: Any) -> tuple[Any, ...]:
    """The step on the side of the window where it belongs."""
    if isinstance(step, WindowConfig):
        return (step,)
    after = getattr(step, "works_in", "hu") == "any" and step.name not in BEFORE
    return (WindowConfig(), step) if after else (step, WindowConfig())


def _change(image: Tensor, still: Tensor, name: str) -> float:
    if image.shape != still.shape:
        return 0.0
    return float((cut(image, name).clamp(0, 1) - cut(still, name)).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds totalseg/ and sts_nifti/")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these transforms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = read_case(options.data)
    path = HERE / "drawn.json"
    drawn = json.loads(path.read_text(encoding="utf-8")) if options.only and path.exists() else {}
    for step in EVERY_STEP:
        if not options.only or step.name in options.only:
            shown, drawn[step.name] = draw(step, case)
            shown.save(HERE / f"{step.name}.png", optimize=True)
            print(f"{step.name}: {drawn[step.name]}")
    path.write_text(json.dumps(drawn, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
