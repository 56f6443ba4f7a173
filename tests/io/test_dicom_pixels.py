"""HU of slices: every codec, width, sign, byte order and way of packing; damage; padding."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, ExplicitVRBigEndian

from medseg.errors import DicomError
from medseg.io import dicom
from medseg.io.dicom_codecs import DECODERS, decode, syntax_name
from medseg.io.dicom_headers import PixelFormat
from medseg.io.dicom_pixels import SliceReader
from tests.support.stored_values import stored_values

SERIES = Path(__file__).parents[1] / "data" / "dicom"
WriteSeries = Callable[..., Path]
RLE, JPEG_50, JPEG_51, JPEG_57, JPEG_70 = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.50", "4.51", "4.57", "4.70"))
JPEG_LS, JPEG_2000, HTJ2K = (f"1.2.840.10008.1.2.4.{end}" for end in (80, 90, 201))
RANDOM = np.random.default_rng(7)
IMAGE = (1000 + np.cumsum(RANDOM.integers(-9, 10, (24, 20)), axis=1)).astype(np.uint16)


def rle(image: np.ndarray, bits: int) -> bytes:
    return RLELosslessEncoder.encode(image, rows=image.shape[0], columns=image.shape[1], samples_per_pixel=1,
                                     bits_allocated=8 * image.itemsize, bits_stored=bits, pixel_representation=0,
                                     photometric_interpretation="MONOCHROME2", number_of_frames=1)  # fmt: skip


ENCODE: dict[str, Callable[[np.ndarray, int], Any]] = {
    RLE: rle,
    JPEG_57: lambda image, bits: imagecodecs.ljpeg_encode(image, bitspersample=bits),
    JPEG_70: lambda image, bits: imagecodecs.ljpeg_encode(image, bitspersample=bits),
    JPEG_LS: lambda image, bits: imagecodecs.jpegls_encode(image),
    "1.2.840.10008.1.2.4.81": lambda image, bits: imagecodecs.jpegls_encode(image, level=0),
    JPEG_2000: lambda image, bits: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True),
    "1.2.840.10008.1.2.4.91": lambda image, bits: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True),
    HTJ2K: lambda image, bits: imagecodecs.htj2k_encode(image, reversible=True),
    "1.2.840.10008.1.2.4.202": lambda image, bits: imagecodecs.htj2k_encode(image, reversible=True),
    "1.2.840.10008.1.2.4.203": lambda image, bits: imagecodecs.htj2k_encode(image, reversible=True),
}


def layout(
    syntax: str, *, bits: tuple[int, int, int] = (16, 16, 15), signed: bool = False, **other: Any
) -> PixelFormat:
    fields = {"little": True, "shape": IMAGE.shape, "samples": 1, "photometric": "MONOCHROME2", "frames": 1,
              "offset": 0, "length": None, **other}  # fmt: skip
    return PixelFormat(syntax=syntax, bits=bits, signed=signed, **fields)


def compress(folder: Path, syntax: str, pack: Callable[[bytes], bytes] | None = None, bits: int = 16) -> Path:
    """Encodes the pixels of every file; `pack` wraps the codestream into fragments."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
        stream = bytes(ENCODE[syntax](stored, bits))
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.PixelData = (pack or (lambda content: encapsulate([content])))(stream)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.save_as(path)
    return folder


# ---- codecs


@pytest.mark.parametrize("syntax", ENCODE)
@pytest.mark.parametrize("signed", [0, 1])
def test_a_lossless_codec_gives_the_voxels_of_the_plain_series(
    write_series: WriteSeries, syntax: str, signed: int
) -> None:
    elements = {"pixels": [IMAGE + step for step in range(3)], "PixelRepresentation": signed}
    plain = dicom.read_series(write_series([0, 1, 2], **elements)).hu

    packed = dicom.read_series(compress(write_series([0, 1, 2], name="packed", **elements), syntax)).hu

    assert np.array_equal(packed, plain) and plain.std() > 5


@pytest.mark.parametrize("syntax", [RLE, JPEG_57, JPEG_LS, JPEG_2000, HTJ2K])
def test_twelve_bits_keep_their_sign(write_series: WriteSeries, syntax: str) -> None:
    values = (IMAGE.astype(np.int16) - 1000).clip(-2048, 2047)
    folder = write_series([0, 1, 2], pixels=(values & 0xFFF).astype(np.uint16), BitsStored=12, HighBit=11,
                          PixelRepresentation=1, RescaleIntercept=0)  # fmt: skip

    hu = dicom.read_series(compress(folder, syntax, bits=12)).hu

    assert np.array_equal(hu[:, :, 0].T, values) and (values < 0).any()


def test_every_syntax_of_the_table_has_a_name_and_a_test() -> None:
    assert all(syntax_name(syntax) != "an unknown transfer syntax" for syntax in DECODERS)
    assert set(DECODERS) == {*ENCODE, JPEG_50, JPEG_51}
    assert syntax_name("1.2.3 or anything") == "an unknown transfer syntax"


def test_baseline_jpeg_is_close_to_the_image_that_was_encoded() -> None:
    smooth = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 4
    stream = bytes(imagecodecs.jpeg8_encode(smooth, level=98))

    values = decode(stream, layout(JPEG_50, bits=(8, 8, 7)), "").values

    assert np.abs(values.astype(int) - smooth).max() <= 3 and values.dtype == np.uint8


def test_small_real_series_equal_what_pydicom_decodes() -> None:
    for name in ("rle", "jpeg_ls", "jpeg_2000"):
        scan = dicom.scan(SERIES / "codecs" / name)
        for image in scan.others[0].images:
            with image.item.open() as stream:
                expected = pydicom.dcmread(stream)
            index = stored_values(image)
            assert np.array_equal(index, expected.pixel_array)


# ---- cells


@pytest.mark.parametrize(
    ("dtype", "bits", "signed", "stored", "values"),
    [
        (np.uint8, (8, 8, 7), 0, [0, 200], [0, 200]),
        (np.int8, (8, 8, 7), 1, [-100, 100], [-100, 100]),
        (np.uint16, (16, 16, 15), 0, [0, 65535], [0, 65535]),
        (np.uint16, (16, 12, 11), 0, [0x0FFF, 0xF001], [4095, 1]),  # bits above are overlays, and cut off
        (np.uint16, (16, 12, 11), 1, [0x0FFF, 0x0800], [-1, -2048]),
        (np.int16, (16, 12, 11), 1, [-5, 5], [-5, 5]),  # already with the sign in the upper bits
        (np.uint16, (16, 12, 15), 0, [0xFFF7, 0x0010], [4095, 1]),  # bits below
        (np.uint16, (16, 12, 15), 1, [0xFFF7, 0x8000], [-1, -2048]),
        (np.int32, (32, 32, 31), 1, [-70000, 70000], [-70000, 70000]),
    ],
)
def test_values_are_taken_out_of_their_cells(
    write_series: WriteSeries, dtype: type, bits: tuple[int, int, int], signed: int, stored: list, values: list
) -> None:
    allocated, kept, high = bits
    folder = write_series([0, 1, 2], pixels=np.array([stored] * 2, dtype), BitsAllocated=allocated, BitsStored=kept,
                          HighBit=high, PixelRepresentation=signed, RescaleIntercept=0)  # fmt: skip

    assert dicom.read_series(folder).hu[:, 0, 0].tolist() == values


def test_big_endian_pixels_are_turned(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], pixels=IMAGE.astype(np.int16))
    plain = dicom.read_series(folder).hu
    for path in folder.iterdir():
        source = pydicom.dcmread(path)
        dataset = Dataset(source)
        dataset.file_meta = source.file_meta
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = np.frombuffer(source.PixelData, "<i2").astype(">i2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(path, enforce_file_format=True)

    assert np.array_equal(dicom.read_series(folder).hu, plain)


def test_fractional_slopes_are_reckoned_in_double_precision(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], pixels=IMAGE, RescaleSlope="0.0123456789", RescaleIntercept="-1024.123456")

    expected = (IMAGE.astype(np.float64) * 0.0123456789 - 1024.123456).astype(np.float32)
    assert np.array_equal(dicom.read_series(folder).hu[:, :, 1].T, expected)


def test_the_volume_is_one_block_with_x_fastest(write_series: WriteSeries) -> None:
    hu = dicom.read_series(write_series([0, 1, 2])).hu

    assert hu.flags.f_contiguous and hu.dtype == np.float32


# ---- fragments


def fragments(*pieces: bytes, table: bytes = b"") -> bytes:
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(piece)) + piece for piece in (table, *pieces))


@pytest.mark.parametrize("table", [b"", bytes(4)])
def test_an_image_in_several_fragments_is_put_together(write_series: WriteSeries, table: bytes) -> None:
    folder = write_series([0, 1, 2], pixels=IMAGE)
    plain = dicom.read_series(folder).hu

    def pack(stream: bytes) -> bytes:
        stream += bytes(len(stream) % 2)
        return fragments(stream[:30], stream[30:40], stream[40:], table=table)

    assert np.array_equal(dicom.read_series(compress(folder, JPEG_LS, pack)).hu, plain)


@pytest.mark.parametrize("syntax", [JPEG_57, JPEG_LS, JPEG_2000, HTJ2K, RLE])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_codestream_is_refused(write_series: WriteSeries, syntax: str, keep: float) -> None:
    folder = compress(write_series([0, 1, 2], pixels=IMAGE), syntax,
                      lambda stream: encapsulate([stream[: int(keep * len(stream)) // 2 * 2]]))  # fmt: skip

    with pytest.raises(DicomError, match=r"slice \d of 3: the pixels cannot be read"):
        dicom.read_series(folder)


@pytest.mark.parametrize("syntax", [JPEG_57, JPEG_LS, JPEG_2000, HTJ2K, RLE])
def test_a_codestream_of_another_size_is_not_decoded(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = bytes(ENCODE[syntax](IMAGE, 16))
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(imagecodecs, name, lambda *_, **__: pytest.fail("the decoder was called"))

    with pytest.raises(ValueError, match=r"contradicts the header|not the bytes of a frame"):
        decode(stream, layout(syntax, shape=(IMAGE.shape[0] + 2, IMAGE.shape[1])), "")


@pytest.mark.parametrize("head", [(2, 64, 10**9), (2, 64, 64), (2, 0, 64), (2, 80, 70), (1, 64, 0), (15, 64, 80)])
def test_run_lengths_that_point_outside_their_frame_are_not_decoded(
    head: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder trusts these offsets and crashes the process."""
    monkeypatch.setattr(imagecodecs, "dicomrle_decode", lambda *_: pytest.fail("the decoder was called"))

    with pytest.raises(ValueError, match="not the segments of one frame"):
        decode(struct.pack("<16L", *head, *[0] * (16 - len(head))) + bytes(100), layout(RLE), "")


def test_a_colour_codestream_is_not_decoded() -> None:
    stream = bytes(imagecodecs.jpegls_encode(np.zeros((24, 20, 3), np.uint8)))

    with pytest.raises(ValueError, match="contradicts the header"):
        decode(stream, layout(JPEG_LS), "")


def test_a_signed_codestream_in_an_unsigned_image_is_refused() -> None:
    stream = bytes(imagecodecs.jpeg2k_encode(IMAGE.astype(np.int16), codecformat="j2k", reversible=True))

    with pytest.raises(ValueError, match="the codestream is signed, the header is not"):
        decode(stream, layout(JPEG_2000), "")
    assert np.array_equal(decode(stream, layout(JPEG_2000, signed=True), "").values, IMAGE)


def test_jpeg_2000_in_a_box_is_read() -> None:
    stream = bytes(imagecodecs.jpeg2k_encode(IMAGE, codecformat="jp2", reversible=True))

    assert stream[4:8] == b"jP  " and np.array_equal(decode(stream, layout(JPEG_2000), "").values, IMAGE)


@pytest.mark.parametrize("syntax", [JPEG_57, JPEG_LS, JPEG_2000, HTJ2K, RLE])
def test_damaged_codestreams_end_in_an_error_or_an_image(syntax: str) -> None:
    random = np.random.default_rng(3)
    stream = bytes(ENCODE[syntax](IMAGE, 16))

    for _ in range(60):
        damaged = bytearray(stream)
        for place in random.integers(0, len(stream), 4):
            damaged[place] = random.integers(0, 256)
        try:
            assert decode(bytes(damaged), layout(syntax), "").values.shape == IMAGE.shape
        except (ValueError, RuntimeError, struct.error):
            continue


@pytest.mark.parametrize(("elements", "reason"), [
    ({"Rows": 6}, "the pixels cannot be read"),
    ({"Rows": 2}, "the pixels cannot be read"),
    ({"SamplesPerPixel": 33}, "a header cannot be read"),
    ({"SamplesPerPixel": 3}, "a header cannot be read"),
    ({"BitsStored": 17}, "the pixels cannot be read"),
    ({"BitsAllocated": 12, "BitsStored": 12}, "pixels of 12 bits; expected 8, 16 or 32 bits allocated"),
])  # fmt: skip
def test_pixels_that_contradict_the_header_are_refused(
    write_series: WriteSeries, elements: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DicomError, match=reason):
        dicom.read_series(write_series([0, 1, 2], **elements))


def test_more_pixels_than_the_file_can_hold_are_refused_before_memory_is_taken(
    write_series: WriteSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series([0, 1, 2])
    for path in folder.iterdir():
        path.write_bytes(_with_sides(path.read_bytes(), 8000))
    packed = compress(write_series([0, 1, 2], name="packed", pixels=IMAGE), JPEG_LS)
    for path in packed.iterdir():
        path.write_bytes(_with_sides(path.read_bytes(), 8000))
    monkeypatch.setattr(SliceReader, "_volume", lambda *_: pytest.fail("memory was taken"))

    for source in (folder, packed):
        with pytest.raises(DicomError, match="the header declares more than the file can hold"):
            dicom.read_series(source)


def _with_sides(content: bytes, side: int) -> bytes:
    """The file with other Rows and Columns and the length of pixel data that belongs to them."""
    for element in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
        at = content.index(element) + 8
        content = content[:at] + struct.pack("<H", side) + content[at + 2 :]
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8 if b"\xe0\x7f\x10\x00OW" in content else 0
    return content[:at] + struct.pack("<L", 2 * side**2) + content[at + 4 :] if at else content


# ---- padding

PADDED = np.array([[0, 0, 30, 40], [0, 50, 0, 60], [70, 0, 80, 90], [70, 80, 90, 0]], np.int16)


def test_a_padding_value_that_tissue_may_have_is_air_only_from_the_corners(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], pixels=PADDED, RescaleIntercept=0, PixelPaddingValue=0)

    hu = dicom.read_series(folder).hu[:, :, 0].T

    assert hu[PADDED != 0].tolist() == PADDED[PADDED != 0].tolist()
    assert (hu == -1024).nonzero()[0].tolist() == [0, 0, 1, 3] and hu[1, 2] == hu[2, 1] == 0


def test_a_padding_value_below_air_is_air_wherever_it_lies(write_series: WriteSeries) -> None:
    image = np.where(PADDED == 0, -2000, PADDED).astype(np.int16)
    folder = write_series([0, 1, 2], pixels=image, RescaleIntercept=0, PixelPaddingValue=-2000)

    assert (dicom.read_series(folder).hu[:, :, 0].T == -1024).sum() == 6


def test_padding_that_bits_stored_cannot_hold_is_found_in_the_cells(write_series: WriteSeries) -> None:
    image = np.array([[63536, 2096], [1024, 4095]], np.uint16)  # 63536 is -2000, and in 12 bits 2096
    folder = write_series([0, 1, 2], pixels=image, BitsStored=12, HighBit=11, PixelRepresentation=0,
                          RescaleIntercept=-1024, PixelPaddingValue=63536)  # fmt: skip

    assert dicom.read_series(folder).hu[:, :, 0].T.tolist() == [[-1024, 1072], [0, 3071]]


def test_no_padding_is_invented(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], pixels=np.full((4, 6), -2000, np.int16), RescaleIntercept=0)

    assert (dicom.read_series(folder).hu == -2000).all()


# ---- larger real series


def test_every_encoding_of_one_real_slice_gives_the_same_values(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "compressed" / "ct_dicomparser"
    images = [image for path in (folder, folder / "encapsulated" / "single-frame")
              for series in dicom.scan(path).series for image in series.images
              if image.pixels.frames == 1]  # fmt: skip

    values = [stored_values(image) for image in images]

    assert len({image.pixels.syntax for image in images}) == 4 and len(values) >= 8
    assert all(np.array_equal(values[0], value) for value in values)
