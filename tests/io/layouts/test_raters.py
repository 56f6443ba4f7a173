"""The plain tree `images/` and `raters/<rater>/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, InputError, LabelError, UsageError


@pytest.fixture
def source(tree: Any) -> Path:
    """Two cases; B has read only the first."""
    tree.text("labels.yaml", "labels: {background: 0, liver: 5}\nignore: 255\n")
    for case in ("anna", "berta"):
        tree.image(f"images/{case}.nii.gz")
        tree.labels(f"raters/A/{case}.nii.gz", 5, 255)
    tree.labels("raters/B/anna.nii.gz", 5)
    return tree.root


def test_a_file_that_is_not_there_is_a_missing_rater(source: Path, tree: Any, imports: Any) -> None:
    dataset, cases = imports("raters", source)

    assert dataset.raters == ("A", "B") and [list(entry.raters) for entry in dataset.cases] == [["A", "B"], ["A"]]
    assert (dataset.labels.values["liver"], dataset.labels.ignore) == (5, 255)
    assert np.array_equal(cases[0].raters["A"].labels, tree.blocks(5, 255))


def test_running_numbers_replace_the_names(source: Path, imports: Any) -> None:
    dataset, _ = imports("raters", source, copy=True)

    text = (dataset.root / "dataset.yaml").read_text(encoding="utf-8")
    assert "anna" not in text and "berta" not in text
    assert [(entry.id, entry.patient) for entry in dataset.cases] == [("c0001", "c0001"), ("c0002", "c0002")]


@pytest.mark.parametrize("option", ["liver=5,ignore=255", "background=0, liver=5 ,ignore=255"])
def test_names_come_from_the_option_too(source: Path, imports: Any, option: str) -> None:
    (source / "labels.yaml").unlink()

    dataset, _ = imports("raters", source, labels=option)

    assert dict(dataset.labels.values) == {"background": 0, "liver": 5} and dataset.labels.ignore == 255


def test_names_come_from_a_file_that_the_user_names(source: Path, tree: Any, imports: Any) -> None:
    path = tree.text("../names.yaml", "background: 0\nkidney_left: 5\nkidney_right: 6\nignore: 255\n")

    assert imports("raters", source, labels=path)[0].labels.foreground == ("kidney_left", "kidney_right")


def test_structures_outside_partial_were_not_read(source: Path, imports: Any) -> None:
    dataset, cases = imports("raters", source, labels="liver=5,spleen=6,ignore=255", partial=("liver",))

    assert not cases[0].raters["A"].was_read("spleen") and cases[0].raters["A"].was_read("liver")
    assert dataset.cases[0].raters["B"].labelled == ("liver",)


def test_only_the_named_raters_are_taken(source: Path, imports: Any) -> None:
    assert imports("raters", source, raters=("A",))[0].raters == ("A",)
    with pytest.raises(UsageError, match=r"no rater 'C'; expected one of A, B"):
        imports("raters", source, raters=("C",))


# ---- segments that the files name themselves


def write_segments(path: Path, layers: Any, origin: str = "(10,-20,-30)", **names: tuple[int, int]) -> None:
    """A 3-D Slicer segmentation, layers first; `names` gives each segment its layer and value."""
    size = " ".join(map(str, layers.shape))
    header = ["NRRD0004", "type: uint8", "dimension: 4", f"sizes: {size}", "encoding: raw", "endian: little",
              "space: right-anterior-superior", "kinds: list domain domain domain",
              "space directions: none (-0.75,0,0) (0,0.75,0) (0,0,2.5)", f"space origin: {origin}"]  # fmt: skip
    for number, (name, (layer, value)) in enumerate(names.items()):
        header += [f"Segment{number}_Name:={name}", f"Segment{number}_Layer:={layer}",
                   f"Segment{number}_LabelValue:={value}", f"Segment{number}_ID:=Segment_{number}"]  # fmt: skip
    path.write_bytes("\n".join(header).encode() + b"\n\n" + layers.astype(np.uint8).tobytes(order="F"))


def test_names_in_the_files_count_not_their_values(source: Path, tree: Any, imports: Any) -> None:
    (source / "labels.yaml").unlink()
    for path in source.glob("raters/*/*.nii.gz"):
        path.unlink()
    write_segments(source / "raters/A/anna.seg.nrrd", tree.blocks(1, 2)[None], liver=(0, 1), spleen=(0, 2))
    write_segments(source / "raters/B/anna.seg.nrrd", tree.blocks(1, 2)[None], spleen=(0, 1), liver=(0, 2))

    dataset, cases = imports("raters", source)

    assert dict(dataset.labels.values) == {"background": 0, "liver": 1, "spleen": 2}
    assert np.array_equal(cases[0].raters["A"].labels, tree.blocks(1, 2))
    assert np.array_equal(cases[0].raters["B"].labels, tree.blocks(2, 1))


def test_segments_that_overlap_stay_apart(source: Path, tree: Any, imports: Any) -> None:
    layers = np.stack([tree.blocks(1), tree.blocks(1, 1)])
    write_segments(source / "raters/B/berta.seg.nrrd", layers, liver=(0, 1), rim=(1, 1))

    dataset, cases = imports("raters", source, labels="liver=5,rim=6,ignore=255")

    reading = cases[1].raters["B"]
    assert (reading.mask("liver").sum(), reading.mask("rim").sum()) == (12, 24)
    assert list(dataset.cases[1].raters["B"].masks) == ["liver", "rim"]


def test_segments_that_slicer_cropped_are_put_onto_the_image(source: Path, tree: Any, imports: Any) -> None:
    cropped = tree.blocks(1)[None, 0:4, 1:6, 1:3]
    write_segments(source / "raters/B/berta.seg.nrrd", cropped, origin="(10,-19.25,-27.5)", liver=(0, 1))

    cases = imports("raters", source)[1]

    assert np.array_equal(cases[1].raters["B"].mask("liver"), tree.blocks(1) == 1)


def test_segments_off_the_image_s_voxels_are_refused(source: Path, tree: Any, imports: Any) -> None:
    write_segments(source / "raters/B/berta.seg.nrrd", tree.blocks(1)[None], origin="(10.4,-20,-30)", liver=(0, 1))

    with pytest.raises(GeometryError, match=r"berta.*0\.35 mm|berta.*0\.4 mm"):
        imports("raters", source)


def test_a_segment_of_another_name_is_refused(source: Path, tree: Any, imports: Any) -> None:
    write_segments(source / "raters/B/berta.seg.nrrd", tree.blocks(5)[None], Segment_1=(0, 5))

    with pytest.raises(
        LabelError, match=r"B/berta\.seg\.nrrd: a segment 'Segment_1' .*expected one of liver\. Rename it"
    ):
        imports("raters", source)


# ---- refusals


def test_a_label_without_an_image_is_named(source: Path, imports: Any) -> None:
    (source / "images" / "anna.nii.gz").unlink()

    with pytest.raises(
        LabelError, match=r"raters/A/anna\.nii\.gz, raters/B/anna\.nii\.gz: a label file without an image"
    ):
        imports("raters", source)


def test_a_tree_without_images_is_told_about_agree(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match=r"no folder of images.*medseg agree"):
        imports("raters", source / "raters")


def test_a_tree_without_raters_is_refused(source: Path, imports: Any, tree: Any) -> None:
    (source / "raters").rename(source / "readers")

    with pytest.raises(FileReadError, match=r"no rater; expected raters/<rater>/<case>\.nii\.gz"):
        imports("raters", source)


def test_two_channels_are_refused_by_name(source: Path, tree: Any, imports: Any) -> None:
    tree.image("images/carla_0000.nii.gz")
    tree.image("images/carla_0001.nii.gz")

    with pytest.raises(InputError, match=r"images/carla: 2 channels, and a case is one CT; got 0000, 0001"):
        imports("raters", source)


def test_unknown_values_are_listed(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("raters/B/anna.nii.gz", 5, 6)

    with pytest.raises(LabelError, match=r"raters/B/anna\.nii\.gz.*expected background 0, liver 5, got 6"):
        imports("raters", source)


def test_two_files_of_one_case_are_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.image("images/anna.nii")

    with pytest.raises(InputError, match=r"several files of one case; expected one, got anna\.nii, anna\.nii\.gz"):
        imports("raters", source)


def test_values_without_names_are_refused(source: Path, imports: Any) -> None:
    (source / "labels.yaml").unlink()

    with pytest.raises(FileReadError, match=r"nothing names the label values\. Pass --labels: liver=1"):
        imports("raters", source)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("liver=five", "not a list of labels"),
        ("liver=1,liver=2", "the label 'liver' is given twice"),
        ("liver=1,spleen=1", "a label value is used twice"),
        ("background=1,liver=2", "background must have the value 0"),
    ],
)
def test_contradictory_names_are_refused(source: Path, imports: Any, option: str, message: str) -> None:
    with pytest.raises((UsageError, LabelError), match=message):
        imports("raters", source, labels=option)


def test_an_unknown_name_in_partial_is_refused(source: Path, imports: Any) -> None:
    with pytest.raises(LabelError, match="--partial: unknown label 'lung'; expected one of liver"):
        imports("raters", source, partial=("lung",))


def test_a_broken_link_is_a_missing_file(source: Path, imports: Any) -> None:
    (source / "raters" / "B" / "berta.nii.gz").symlink_to(source / "gone.nii.gz")

    with pytest.raises(FileReadError, match=r"raters/B/berta\.nii\.gz: no such"):
        imports("raters", source)


def test_a_folder_among_the_images_is_refused(source: Path, imports: Any) -> None:
    (source / "images" / "series").mkdir()

    with pytest.raises(FileReadError, match=r"images/series: a folder among the images\..*'dicom'"):
        imports("raters", source)
