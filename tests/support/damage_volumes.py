"""NIfTI, NRRD and MetaImage files, and the harm that their headers and their compression invite."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from damage_bytes import EVERY_FORMAT, Damage, Expect, Family, Reading, Sample, pick

from medseg.io import itk_images, nifti

SHAPE = (12, 10, 8)
AFFINE = np.array([[-0.75, 0, 0, 10.0], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])
VALID, REFUSED, SAME = Expect.VALID, Expect.REFUSE, Expect.SAME


@cache
def voxels() -> Any:
    """(X, Y, Z) int16: air and tissue with noise."""
    rng = np.random.default_rng(3)
    hu = np.where(rng.random(SHAPE) < 0.5, -1000, 40) + rng.integers(-20, 20, SHAPE)
    return hu.astype(np.int16)


def expected() -> Reading:
    return Reading({"hu": voxels().astype(np.float32)}, AFFINE)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@cache
def plain_nifti() -> bytes:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=1)
    return image.to_bytes()


def nifti_samples() -> tuple[Sample, ...]:
    content = plain_nifti()
    return (
        Sample({"c.nii": content}, "c.nii", ("c.nii",), {"c.nii": (352, len(content))}),
        Sample({"c.nii.gz": packed(content)}, "c.nii.gz", ("c.nii.gz",)),
    )


def read_nifti(path: Path) -> Reading:
    volume = nifti.read_volume(path)
    return Reading({"hu": np.asarray(volume.hu)}, volume.geometry.affine)


NAN, INF = float("nan"), float("inf")
FIELDS: tuple[tuple[str, int, str, tuple[Any, ...], Expect], ...] = (  # field, offset, format, values, expect
    ("sizeof_hdr", 0, "<i", (0, 540, -1, 1543569408), VALID), ("dim0", 40, "<h", (0, -1, 1, 2, 4, 7, 8, 32767), VALID),
    ("dim1", 42, "<h", (0, -1, -32768, 32767, 13), REFUSED), ("dim2", 44, "<h", (0, -1, 32767, 11), REFUSED),
    ("dim3", 46, "<h", (0, -1, 32767), REFUSED), ("dim4", 48, "<h", (0, -5, 32767), VALID),
    ("datatype", 70, "<h", (0, 1, 128, 32, 2048, 9999, -1), REFUSED),
    ("datatype", 70, "<h", (2, 8, 16, 64, 512), VALID),
    ("bitpix", 72, "<h", (0, -16, 8, 32000), VALID),
    ("pixdim1", 80, "<f", (0.0, -1.0, NAN, INF, 1e30), VALID), ("qfac", 76, "<f", (NAN, 7.0), VALID),
    ("vox_offset", 108, "<f", (0.0, -1.0, NAN, INF, 1e10, 353.0, 1.0), VALID),
    ("vox_offset", 108, "<f", (1e10, 100000.0), REFUSED),
    ("scl_slope", 112, "<f", (INF, -INF, 1e38, 3e38), REFUSED), ("scl_slope", 112, "<f", (NAN, 0.0), VALID),
    ("scl_inter", 116, "<f", (NAN, INF), VALID), ("xyzt_units", 123, "<B", (1, 3, 7, 255), VALID),
    ("qform_code", 252, "<h", (0, -1, 32767), VALID), ("sform_code", 254, "<h", (0, -1, 32767), VALID),
    ("quatern_b", 256, "<f", (NAN, INF, 2.0, 1e30), VALID), ("qoffset_x", 268, "<f", (NAN, 1e38), VALID),
    ("srow_x", 280, "<f", (NAN, INF), REFUSED), ("srow_x", 280, "<f", (0.0, 1e38, 1e-38), VALID),
    ("srow_z[2]", 320, "<f", (NAN, INF, 0.0), REFUSED), ("magic", 344, "<I", (0, 0x00316E69), VALID),
    ("descrip", 148, "<Q", (2**64 - 1,), SAME), ("extension", 348, "<I", (1, 0xFFFFFFFF), VALID),
)  # fmt: skip


def absurd_field(sample: Sample, rng: np.random.Generator) -> Damage:
    field, offset, form, values, expect = pick(rng, FIELDS)
    value = pick(rng, values)
    content = bytearray(plain_nifti())
    struct.pack_into(form, content, offset, value)
    harmed = packed(bytes(content)) if sample.main.endswith("gz") else bytes(content)
    return Damage(sample.with_file(sample.main, harmed), f"{field} = {value}", expect)


def gzip_harm(sample: Sample, rng: np.random.Generator) -> Damage:
    """Bombs, wrong checksums, several members, and gzip where none is expected."""
    content = plain_nifti()
    kind = pick(rng, ("bomb", "short bomb", "checksum", "length", "two members", "rubbish after", "gzip twice",
                      "no trailer", "not packed", "deflate flags"))  # fmt: skip
    whole = packed(content)
    harmed, expect = {
        "bomb": lambda: (_bomb(content), VALID),
        "short bomb": lambda: (_bomb(b""), REFUSED),
        "checksum": lambda: (whole[:-8] + b"\1\2\3\4" + whole[-4:], REFUSED),
        "length": lambda: (whole[:-4] + b"\1\2\3\4", REFUSED),
        "two members": lambda: (packed(content[:1000]) + packed(content[1000:]), SAME),
        "rubbish after": lambda: (whole + b"rubbish" * 9, VALID),
        "gzip twice": lambda: (packed(whole), REFUSED),
        "no trailer": lambda: (whole[: -int(rng.integers(1, 9))], REFUSED),
        "not packed": lambda: (content, SAME),
        "deflate flags": lambda: (whole[:3] + bytes([int(rng.integers(1, 256))]) + whole[4:], VALID),
    }[kind]()
    return Damage(sample.with_file(sample.main, harmed), f"gzip: {kind}", expect)


def _bomb(first: bytes) -> bytes:
    """4 GB of zeros after the content, in 4 MB."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 24)
    return deflate.compress(first) + b"".join(deflate.compress(block) for _ in range(24)) + deflate.flush()


# ---- NRRD and MetaImage

NRRD = """NRRD0005
type: short
dimension: 3
space: left-posterior-superior
sizes: 12 10 8
space directions: (0.75,0,0) (0,0.8,0) (0,0,2.5)
space origin: (-10,-20,-30)
kinds: domain domain domain
endian: little
encoding: {encoding}

"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = {packed}
{size}TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -10 -20 -30
ElementSpacing = 0.75 0.8 2.5
DimSize = 12 10 8
ElementType = MET_SHORT
ElementDataFile = {data}
"""


def itk_samples() -> tuple[Sample, ...]:
    raw = voxels().tobytes(order="F")
    zipped = zlib.compress(raw)
    size = f"CompressedDataSize = {len(zipped)}\n"
    return (
        _whole("c.nrrd", NRRD.format(encoding="raw"), raw),
        _whole("c.nrrd", NRRD.format(encoding="gzip"), packed(raw)),
        _whole("c.mha", META.format(packed="False", size="", data="LOCAL"), raw),
        _whole("c.mha", META.format(packed="True", size=size, data="LOCAL"), zipped),
        _apart("c.mhd", META.format(packed="False", size="", data="c.raw"), raw),
        _apart("c.nhdr", NRRD.format(encoding="raw").replace("\n\n", "\ndata file: c.raw\n\n"), raw),
    )


def _whole(name: str, header: str, data: bytes) -> Sample:
    content = header.encode() + data
    return Sample({name: content}, name, (name,), {name: (len(header), len(content))})


def _apart(name: str, header: str, data: bytes) -> Sample:
    return Sample({name: header.encode(), "c.raw": data}, name, (name, "c.raw"), {"c.raw": (0, len(data))})


def read_itk(path: Path) -> Reading:
    volume = itk_images.read_volume(path)
    return Reading({"hu": volume.hu}, volume.geometry.affine)


LINES: tuple[tuple[str, tuple[str, ...], Expect], ...] = (  # beginning of a line, what follows, expect
    ("sizes:", ("0 10 8", "-1 -1 8", "99999999999 99999999999 9", "12 10", "12 10 8 1", "nan 1 1", "",
    "12 10 9"), REFUSED),
    ("space directions:", ("(0,0,0) (0,0,0) (0,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none none none", "(1,0) (0,1)",
                           "(1,0,0) (1,0,0) (0,0,1)", "(1e300,0,0) (0,1e300,0) (0,0,1)", "((((", ""), REFUSED),
    ("space origin:", ("(nan,0,0)", "(inf,0,0)", "(0,0)", "none"), REFUSED),
    ("dimension:", ("0", "-3", "17", "1e9", "three", "2"), REFUSED), ("endian:", ("middle", ""), VALID),
    ("encoding:", ("zrle", "bzip2", "hex", "ascii", ""), VALID),
    ("type:", ("block", "short ort", "uint128", ""), REFUSED),
    ("space:", ("nowhere", "scanner-xyz", "2D", "right-anterior-superior"), VALID),
    ("kinds:", ("list list list",), VALID),
    ("DimSize =", ("0 10 8", "-1 10 8", "999999999 999999999 9", "12 10", "a b c", "nan nan nan"), REFUSED),
    ("ElementSpacing =", ("0 0 0", "nan 1 1", "-1 0.8 2.5", "inf 1 1", "1 1", "x y z"), REFUSED),
    ("TransformMatrix =", ("0 0 0 0 0 0 0 0 0", "nan 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1", "1 0 0", ""), REFUSED),
    ("Offset =", ("nan 0 0", "inf 0 0", "1 2", "a b c"), REFUSED), ("NDims =", ("0", "-3", "1000000000", "x"), REFUSED),
    ("ElementType =", ("MET_NOTHING", "MET_SHORT_ARRAY", ""), REFUSED), ("BinaryData =", ("False",), VALID),
    ("CompressedDataSize =", ("-1", "99999999999999", "1"), VALID), ("CompressedData =", ("True", "maybe"), VALID),
    ("ElementDataFile =", ("../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "LIST", "nothing.raw", "c.mhd",
                           "%03d.raw 1 8 1", "."), REFUSED),
    ("data file:", ("../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "LIST", "nothing.raw", "c.nhdr",
                    "%03d.raw 1 8 1", "."), REFUSED),
)  # fmt: skip


def absurd_line(sample: Sample, rng: np.random.Generator) -> Damage:
    """Nonsense in a line of the header; `/etc/passwd` and a device as the place of the voxels among it."""
    content = sample.files[sample.main]
    start, texts, expect = pick(rng, [line for line in LINES if b"\n" + line[0].encode() in content])
    text = pick(rng, texts)
    at = content.index(b"\n" + start.encode()) + 1
    end = content.index(b"\n", at)
    harmed = content[:at] + f"{start} {text}".encode() + content[end:]
    return Damage(sample.with_file(sample.main, harmed), f"{start} {text}", expect)


def long_header(sample: Sample, rng: np.random.Generator) -> Damage:
    """A header of megabytes, of one endless line, or with a field given twice."""
    content = sample.files[sample.main]
    at = content.index(b"\n") + 1
    extra = pick(rng, (b"# " + b"x" * 20_000_000 + b"\n", b"#\n" * 500_000, b"key:=" + b"y" * 100_000 + b"\n",
                       content[at : content.index(b"\n", at) + 1], b"\x00\xff\n"))  # fmt: skip
    return Damage(sample.with_file(sample.main, content[:at] + extra + content[at:]), "header made longer", VALID)


FAMILIES = {
    "nifti": Family(nifti_samples, read_nifti, (absurd_field, absurd_field, absurd_field, gzip_harm, *EVERY_FORMAT)),
    "itk": Family(itk_samples, read_itk, (absurd_line, absurd_line, absurd_line, long_header, *EVERY_FORMAT)),
}  # fmt: skip
