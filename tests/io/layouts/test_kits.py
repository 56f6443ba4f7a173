"""KiTS as https://github.com/neheller/kits21 and kits23 lay it out: aggregated labels and single annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, InputError, LabelError, UsageError

KIDNEY, TUMOR, CYST = 1, 2, 3


def mask(*box: tuple[int, int]) -> Any:
    marked = np.zeros((8, 8, 6), dtype=np.uint8)
    marked[tuple(slice(*side) for side in box)] = 1
    return marked


@pytest.fixture
def source(tree: Any) -> Path:
    """A case of KiTS23 with two kidneys, a tumour and a cyst, three annotations each, and a second without a cyst."""
    for case in ("case_00000", "case_00400"):
        tree.image(f"{case}/imaging.nii.gz")
        tree.labels(f"{case}/segmentation.nii.gz", KIDNEY, TUMOR)
        for number in (1, 2, 3):
            name = f"{case}/instances/{{}}_instance-{{}}_annotation-{number}.nii.gz"
            tree.mask(name.format("kidney", 1), mask((0, 3), (0, 4), (0, 6)))
            tree.mask(name.format("kidney", 2), mask((5, 8), (0, 4), (0, 6)))
            tree.mask(name.format("tumor", 1), mask((1, 3), (1, 2 + number), (1, 3)))
            if case == "case_00000":
                tree.mask(name.format("cyst", 1), mask((2, 3), (0, 3), (0, 3)))
    return tree.root


def test_each_annotation_becomes_a_label_map_of_its_own(source: Path, imports: Any) -> None:
    dataset, cases = imports("kits", source)

    assert dataset.raters == ("annotation_1", "annotation_2", "annotation_3") and dataset.anonymous
    tumours = [case.raters[rater].mask("tumor").sum() for case in cases for rater in dataset.raters]
    assert tumours == [2 * (1 + number) * 2 for number in (1, 2, 3)] * 2
    assert dataset.cases[0].raters["annotation_1"].path.relative_to(dataset.root).as_posix() == (
        "labels/annotation_1/c0001.nii.gz"
    )


def test_tumour_is_painted_over_cyst_and_cyst_over_kidney(source: Path, imports: Any) -> None:
    _, cases = imports("kits", source)

    labels = cases[0].raters["annotation_1"].labels
    assert labels[2, 1, 1] == TUMOR and labels[2, 0, 1] == CYST and labels[0, 0, 0] == KIDNEY
    assert labels[7, 3, 5] == KIDNEY and labels[4].max() == 0


def test_the_composed_map_equals_the_challenges_own_order_of_painting(source: Path, imports: Any) -> None:
    _, cases = imports("kits", source)

    painted = np.zeros((8, 8, 6), dtype=np.uint8)
    painted[mask((0, 3), (0, 4), (0, 6)) + mask((5, 8), (0, 4), (0, 6)) > 0] = KIDNEY
    painted[mask((2, 3), (0, 3), (0, 3)) > 0] = CYST
    painted[mask((1, 3), (1, 4), (1, 3)) > 0] = TUMOR
    assert np.array_equal(cases[0].raters["annotation_2"].labels, painted)


def test_aggregated_labels_are_one_rater(source: Path, imports: Any) -> None:
    dataset, cases = imports("kits", source, kits_labels="aggregated")

    assert dataset.raters == ("majority",) and not dataset.anonymous
    assert dataset.cases[0].raters["majority"].path == source / "case_00000" / "segmentation.nii.gz"
    assert cases[0].raters["majority"].mask("tumor").sum() == 12


def test_kits21_has_other_names(tree: Any, imports: Any) -> None:
    tree.image("kits21/data/case_00001/imaging.nii.gz")
    tree.labels("kits21/data/case_00001/aggregated_MAJ_seg.nii.gz", CYST)
    for number in (1, 2, 3):
        name = f"kits21/data/case_00001/segmentations/kidney_instance-1_annotation-{number}.nii.gz"
        tree.mask(name, mask((0, 3), (0, 4), (0, 6)))

    dataset, cases = imports("kits", tree.root)

    assert len(cases[0].raters) == 3 and dataset.labels.values["cyst"] == CYST


def test_kits19_has_no_cysts_and_a_test_set_without_labels(tree: Any, imports: Any) -> None:
    tree.image("data/case_00000/imaging.nii.gz")
    tree.labels("data/case_00000/segmentation.nii.gz", KIDNEY, TUMOR)
    tree.image("data/case_00210/imaging.nii.gz")

    dataset, _ = imports("kits", tree.root, rater="expert")

    assert dataset.labels.foreground == ("kidney", "tumor")
    assert [(entry.split, list(entry.raters)) for entry in dataset.cases] == [("train", ["expert"]), ("test", [])]


def test_what_a_missing_instance_leaves_open_is_not_read(source: Path, tmp_path: Path, imports: Any) -> None:
    (source / "case_00000/instances/cyst_instance-1_annotation-2.nii.gz").unlink()
    (source / "case_00400/instances/tumor_instance-1_annotation-3.nii.gz").unlink()

    dataset, cases = imports("kits", source)

    assert dataset.cases[0].raters["annotation_2"].labelled == ("tumor",)
    assert "annotation_3" not in dataset.cases[1].raters
    assert set(np.unique(cases[0].raters["annotation_2"].labels)) == {0, TUMOR}


# ---- refusals


def test_images_that_were_not_downloaded_are_named(source: Path, imports: Any) -> None:
    (source / "case_00400" / "imaging.nii.gz").unlink()

    with pytest.raises(
        FileReadError, match=r"case_00400/imaging\.nii\.gz: no such image file\. KiTS gives images apart"
    ):
        imports("kits", source)


def test_the_wrong_folder_is_told(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match="no case; expected folders case_00000"):
        imports("kits", source / "case_00000")


def test_an_image_of_two_phases_is_named(source: Path, tree: Any, imports: Any) -> None:
    tree.frames("case_00000/imaging.nii.gz", 2)

    with pytest.raises(InputError, match=r"case_00000/imaging\.nii\.gz: 4-D with 2 frames"):
        imports("kits", source, kits_labels="aggregated")


def test_a_mask_with_several_values_is_named(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("case_00000/instances/tumor_instance-1_annotation-1.nii.gz", 1, 2)

    with pytest.raises(LabelError, match=r"tumor_instance-1_annotation-1\.nii\.gz: a mask file with several values"):
        imports("kits", source)


def test_values_that_kits19_does_not_know_are_listed(tree: Any, imports: Any) -> None:
    tree.image("case_00000/imaging.nii.gz")
    tree.labels("case_00000/segmentation.nii.gz", KIDNEY, CYST)

    with pytest.raises(LabelError, match=r"got 3\. Name them with --labels"):
        imports("kits", tree.root)
    assert len(imports("kits", tree.root, labels="kidney=1,tumor=2,cyst=3")[1]) == 1


def test_two_aggregated_maps_are_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("case_00000/aggregated_MAJ_seg.nii.gz", KIDNEY)

    with pytest.raises(InputError, match="case_00000: two aggregated label maps"):
        imports("kits", source)


def test_an_annotation_that_is_there_twice_is_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.mask("case_00000/segmentations/tumor_instance-1_annotation-1.nii.gz", mask((0, 1), (0, 1), (0, 1)))

    with pytest.raises(InputError, match="an annotation is there twice"):
        imports("kits", source)


def test_masks_of_other_structures_are_refused_by_name(source: Path, tree: Any, imports: Any) -> None:
    tree.mask("case_00000/instances/ureter_instance-1_annotation-1.nii.gz", mask((0, 1), (0, 1), (0, 1)))

    with pytest.raises(
        InputError, match=r"instances/ureter_instance-1_annotation-1\.nii\.gz: not a mask of this layout"
    ):
        imports("kits", source)


def test_a_case_without_single_annotations_names_the_option(source: Path, tree: Any, imports: Any) -> None:
    tree.image("case_00401/imaging.nii.gz")
    tree.labels("case_00401/segmentation.nii.gz", KIDNEY)

    with pytest.raises(LabelError, match=r"case_00401: no masks of single annotations\. Pass --kits-labels aggregated"):
        imports("kits", source)


def test_a_mask_on_another_grid_is_refused(source: Path, tree: Any, imports: Any) -> None:
    from medseg.imaging.geometry import Geometry
    from medseg.io import nifti

    path = source / "case_00000/instances/tumor_instance-1_annotation-1.nii.gz"
    nifti.write_labels(path, mask((0, 1), (0, 1), (0, 1)), Geometry((8, 8, 6), np.eye(4)))

    with pytest.raises(GeometryError, match=r"annotation-1\.nii\.gz: the label map lies on another grid"):
        imports("kits", source)


def test_options_of_other_layouts_are_refused(source: Path, imports: Any) -> None:
    with pytest.raises(UsageError, match="--rater-from means nothing for the layout 'kits'"):
        imports("kits", source, rater_from="desc")
