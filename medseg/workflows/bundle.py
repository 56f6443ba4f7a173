"""The configuration files of a MONAI bundle around an exported network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.imaging.volume import BODY_HU

BUNDLE_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
AIR_HU = -1024.0
README = """# CT segmentation: {structures}

RESEARCH USE ONLY - NOT REVIEWED

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
      --images "$['ct.nii.gz']" --output_dir predictions

The network `models/model.pt2` takes patches of HU and gives logits; `configs/inference.json` brings the CT to its grid,
slides, and writes the labels on the CT's own grid. It needs MONAI, PyTorch, nibabel and fire, not medseg. Patches may
lie a voxel or so beside those of `medseg predict`, because MONAI crops and places patches by other rules. What
`medseg validate` chose to do to the labels afterwards is not done here; its steps are in `configs/metadata.json`, under
`medseg`, `postprocessing`.
"""


def write_bundle(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Writes `configs/metadata.json`, `configs/inference.json` and `docs/README.md` beside `models/model.pt2`.

    Args:
        metadata: see `model_export.describe`.
    """
    for name, content in (("metadata", bundle_metadata(metadata)), ("inference", inference_config(metadata))):
        write_text(folder / "configs" / f"{name}.json", json.dumps(content, indent=1) + "\n")
    structures = ", ".join(name for name in metadata["classes"][1:])
    write_text(folder / "docs" / "README.md", README.format(structures=structures))


def bundle_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata.json` as MONAI's bundle specification asks for it, with ours under `medseg`."""
    classes = metadata["classes"]
    image = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1, "is_patch_data": True,
             "spatial_shape": metadata["patch"], "dtype": "float32", "value_range": [-1024, 3071],
             "channel_def": {"0": "image"}}  # fmt: skip
    logits = {**image, "format": "segmentation", "num_channels": len(classes), "value_range": [],
              "channel_def": {str(index): name for index, name in enumerate(classes)}}  # fmt: skip
    return {
        "schema": BUNDLE_SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel")},
        "task": "CT segmentation",
        "description": "Segments " + ", ".join(classes[1:]),
        "authorship": "",
        "copyright": "",
        "intended_use": metadata["use"],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        "medseg": dict(metadata),
    }


def inference_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`inference.json`: the network, its grid, the sliding window and the way back to the CT's own grid."""
    values = list(metadata["labels"].values())
    margin = [ceil(metadata["margin_mm"] / mm) for mm in metadata["spacing_mm"]]
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": margin,
            "select_fn": f"$lambda image: KeepLargestConnectedComponent()(image > {BODY_HU})",
            "allow_smaller": True}  # fmt: skip
    return {
        "imports": ["$import numpy", "$import torch", "$from monai.data import decollate_batch",
                    "$from monai.transforms import KeepLargestConnectedComponent"],
        "bundle_root": ".",
        "images": ["ct.nii.gz"],
        "output_dir": "predictions",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.export.load(@bundle_root + '/models/model.pt2').module()",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": metadata["orientation"]},
            {"_target_": "Spacingd", "keys": "image", "pixdim": metadata["spacing_mm"], "mode": "bilinear",
             "scale_extent": True},
            {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"},
            *([crop] if metadata["crop_to_body"] else []),
        ]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': path} for path in @images]",
                    "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": metadata["patch"], "sw_batch_size": 1,
                    "overlap": metadata["overlap"], "mode": "gaussian", "padding_mode": "constant", "cval": AIR_HU},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "MapLabelValued", "keys": "pred", "orig_labels": list(range(len(values))),
             "target_labels": values, "dtype": "$numpy.int16"},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "",
             "output_dtype": "$numpy.int16", "separate_folder": False, "resample": False},
        ]},
        "predict": "$[@postprocessing(item) for batch in @dataloader for item in decollate_batch("
                   "{**batch, 'pred': @inferer(batch['image'].to(@device), @network).cpu()})]",
        "run": ["$torch.set_grad_enabled(False)", "$@predict"],
    }  # fmt: skip
