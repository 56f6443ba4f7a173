"""nnU-Net and MONAI for the same work: from class scores, or from a standardised image, to the labels of the study."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.models.nnunet_weights import translate
from medseg.models.unet import UNet, UNetConfig
from medseg.shapes import FloatArray, IntArray, IntTriple, Triple

# nnU-Net works with Z, Y, X; so does everything in this file


def plans(spacing_mm: Triple, patch: IntTriple, channels: tuple[int, ...], order: int) -> dict[str, Any]:
    """The plans of a plain U-Net of `channels`, its scores resampled at `order`."""
    stages = len(channels)
    scores = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": list(channels), "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages, "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    return {
        "dataset_name": "Dataset001_bench", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager",
        "configurations": {"3d_fullres": {
            "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
            "patch_size": list(patch), "spacing": list(spacing_mm), "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False], "architecture": architecture,
            "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {}, "resampling_fn_seg_kwargs": {},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": scores, "batch_dice": True,
        }},
    }  # fmt: skip


def our_network(channels: tuple[int, ...], classes: int) -> UNet:
    """Our U-Net with random weights, in the layers that nnU-Net's has."""
    torch.manual_seed(0)
    config = UNetConfig(channels=channels, deep_supervision=len(channels) - 2)
    return config.build(1, classes, (32, 32, 32)).eval()


class NNUNet:
    """nnU-Net's predictor and its export for one network.

    Args:
        spacing_mm: of the scores.
        patch, channels: of the network.
        order: of the interpolation of scores.
    """

    def __init__(
        self,
        classes: int,
        spacing_mm: Triple,
        patch: IntTriple = (96, 96, 96),
        channels: tuple[int, ...] = (16, 32, 64, 64),
        order: int = 1,
        overlap: float = 0.5,
    ) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self.manager = PlansManager(plans(spacing_mm, patch, channels, order))
        self.configuration = self.manager.get_configuration("3d_fullres")
        names = {"background": 0, **{f"organ_{k}": k for k in range(1, classes)}}
        self.dataset = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 1, "file_ending": ".nii.gz"}
        self.labels = self.manager.get_label_manager(self.dataset)
        with contextlib.redirect_stdout(io.StringIO()):
            self.predictor = nnUNetPredictor(
                1 - overlap, use_mirroring=False, allow_tqdm=False, perform_everything_on_device=False,
                device=torch.device("cpu"),
            )  # fmt: skip
        self.network: nn.Module = get_network_from_plans(
            self.configuration.network_arch_class_name, self.configuration.network_arch_init_kwargs,
            self.configuration.network_arch_init_kwargs_req_import, 1, classes, deep_supervision=False,
        ).eval()  # fmt: skip

    def take(self, ours: nn.Module) -> None:
        """Takes over the weights of our U-Net."""
        theirs = self.network.state_dict()
        places = translate({name: name for name in theirs})  # type: ignore[misc]
        with torch.no_grad():
            for name, tensor in ours.state_dict().items():
                theirs[str(places[name])].copy_(tensor)

    def scores(self, image: FloatArray) -> torch.Tensor:
        """Logits (C, Z, Y, X) of a normalised image (Z, Y, X)."""
        self.predictor.manual_initialization(
            self.network, self.manager, self.configuration, [self.network.state_dict()], self.dataset, "x", None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image[None]))

    def export(self, scores: FloatArray | torch.Tensor, shape: IntTriple, spacing_mm: Triple) -> IntArray:
        """Labels (Z, Y, X) of a study of this shape and spacing."""
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        properties = {
            "spacing": list(spacing_mm), "shape_after_cropping_and_before_resampling": list(shape),
            "shape_before_cropping": list(shape), "bbox_used_for_cropping": [[0, n] for n in shape],
        }  # fmt: skip
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            scores, self.manager, self.configuration, self.labels, properties, num_threads_torch=2
        )


@contextlib.contextmanager
def sums_in_float32() -> Iterator[None]:
    """nnU-Net's predictor, which asks for `torch.half`, gets float32 for its sums."""
    half, torch.half = torch.half, torch.float32
    try:
        yield
    finally:
        torch.half = half


def fastest_batch(network: nn.Module, patch: IntTriple) -> int:
    """1 or 4 tiles at a time, whichever PyTorch computes faster on this machine."""
    tiles = torch.zeros((4, 1, *patch))

    def seconds(batch: int) -> float:
        start = time.perf_counter()
        for part in tiles.split(batch):
            network(part)
        return time.perf_counter() - start

    with torch.inference_mode():
        network(tiles[:1])
        return min((1, 4), key=lambda batch: min(seconds(batch) for _ in range(2)))


def monai_scores(
    network: nn.Module, image: FloatArray, patch: IntTriple, overlap: float, batch: int = 1
) -> torch.Tensor:
    """Logits (1, C, Z, Y, X) by MONAI's sliding window."""
    from monai.inferers.utils import sliding_window_inference

    with torch.inference_mode():
        return sliding_window_inference(torch.from_numpy(image)[None, None], patch, batch, network, overlap, "gaussian")  # type: ignore[return-value]


def monai_labels(scores: torch.Tensor, shape: IntTriple) -> IntArray:
    """Labels (Z, Y, X) at the study's size, as MONAI's transforms resample: torch's trilinear interpolation."""
    with torch.inference_mode():
        large = torch.nn.functional.interpolate(scores.float(), shape, mode="trilinear", align_corners=False)
        return large.argmax(1)[0].to(torch.uint8).numpy()


def dice(one: IntArray, other: IntArray, classes: int) -> float:
    """The least Dice of the structures that either marked."""
    found = []
    for c in range(1, classes):
        a, b = one == c, other == c
        if total := int(np.count_nonzero(a)) + int(np.count_nonzero(b)):
            found.append(2 * int(np.count_nonzero(a & b)) / total)
    return min(found, default=1.0)
