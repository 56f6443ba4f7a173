"""`dataset.yaml` and `rois.yaml`, archives, and the harm done to them: YAML bombs, zip bombs, paths that climb out."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from damage_bytes import EVERY_FORMAT, Damage, Expect, Family, Reading, Sample, pick
from damage_dicom import read as read_dicom
from damage_dicom import series

from medseg.io.manifest import read_dataset
from medseg.io.roi_names import read_roi_rules

VALID, REFUSED, SAME = Expect.VALID, Expect.REFUSE, Expect.SAME
DATASET = """\
schema: medseg.dataset/1
labels: {background: 0, liver: 1, kidney_left: 2, kidney_right: 3}
mirror_pairs: [[kidney_left, kidney_right]]
ignore: 255
raters: [A, B]
cases:
  - {id: c001, patient: p001, image: images/c001.nii.gz,
     raters: {A: labels/A/c001.nii.gz, B: {path: labels/B/c001.nii.gz, labelled: [liver], slices_read: [1, 3]}}}
  - {id: c002, image: images/c002.nii.gz}
"""
ROIS = """\
labels:
  liver: {value: 1, match: ["liver.*", "LIV"]}
  kidney_left: {value: 2, match: "(l|left)[ _]kidney", several: unite}
ignore: ["Couch.*"]
overlap: separate
rater: {from: label}
"""


def yaml_sample(name: str, text: str) -> Sample:
    return Sample({name: text.encode()}, name, (name,))


def read_manifest(path: Path) -> Reading:
    dataset = read_dataset(path)
    return Reading(facts=repr((dataset.labels, dataset.raters, dataset.cases)).replace(str(path.parent), ""))


def read_rules(path: Path) -> Reading:
    rules = read_roi_rules(path)
    names = ["Liver", "left kidney", "Couch 1", "a" * 64]
    return Reading(facts=repr(rules) + repr([rules._region(name) for name in names]))


BOMB = "bomb:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "bomb:\n  - &m0 {x0: 1}\n" + "".join(
    f"  - &m{n} {{x{n}: 1, <<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40)
)
YAML = {
    "anchors": BOMB, "anchors used": BOMB + "labels: *a11\n", "merges": MERGES, "itself": "labels: &l {a: *l}\n",
    "cases that are themselves": "cases: &c [*c]\n", "deep": "labels: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "deep maps": "labels: " + "{a: " * 5_000 + "1" + "}" * 5_000 + "\n",
    "python": "labels: !!python/object:os.system x\n",
    "python call": "labels: !!python/object/apply:os.system ['touch hacked']\n", "tag": "labels: !unknown {a: 1}\n",
    "numbers": "labels: {background: 0, liver: " + "9" * 6_000 + "}\n",
    "nan": "labels: {background: .nan, liver: .inf}\n",
    "keys": "labels: {? [a, b] : 1, ? {c: d} : 2}\n", "twice": "labels: {a: 1, a: 2}\n",
    "null": "labels: ~\ncases: ~\n",
    "dates": "labels: {background: 2020-01-01}\n", "sexagesimal": "labels: {background: 1:2:3}\n",
    "binary": "labels: !!binary gIGC\n",
    "documents": "---\na: 1\n---\nb: 2\n", "tabs": "labels:\n\t- 1\n", "directive": "%YAML 9.9\n---\nlabels: {}\n",
    "control": "labels: \x00\x07\n", "list": "- 1\n- 2\n", "empty": "", "text": "hello\n",
    "long line": "x: '" + "y" * 3_000_000 + "'\n",
    "many keys": "labels: {" + ", ".join(f"k{n}: {n}" for n in range(20_000)) + "}\n",
    "many cases": "cases: [" + ", ".join(f"{{id: c{n}, image: i{n}}}" for n in range(3_000)) + "]\n",
}  # fmt: skip


def yaml_bomb(sample: Sample, rng: np.random.Generator) -> Damage:
    kind = pick(rng, YAML)
    content = YAML[kind].encode()
    if kind in ("anchors", "merges", "long line", "many cases") and rng.random() < 0.5:
        content += sample.files[sample.main]
    return Damage(
        sample.with_file(sample.main, content), f"YAML: {kind}", VALID if content.count(b"\n") > 3 else REFUSED
    )


REGEX = ("(a+)+$", "(a|aa)*$", "(.*)*x", "a{1000000}", "(((((a{100}){100}){100}){100}){100})", "[", "(?P<x>", "\\",
"(?<=a+)b",
         "(?i)(?:a*)*b", "(" * 5000 + ")" * 5000, "a**", "\\g<9>", "(a?){64}a{64}",
         "a.*a.*a.*a.*a.*a.*a.*b")  # fmt: skip


def slow_expression(sample: Sample, rng: np.random.Generator) -> Damage:
    """Expressions that are none, or that take for ever on a name of 64 letters."""
    expression = pick(rng, REGEX)
    quoted = "'" + expression.replace("'", "''") + "'"
    harmed = ROIS.replace('"liver.*"', quoted)
    return Damage(sample.with_file(sample.main, harmed.encode()), f"expression {expression[:30]}", VALID)


def absurd_word(sample: Sample, rng: np.random.Generator) -> Damage:
    """A word of the file replaced by what its type does not allow."""
    text = sample.files[sample.main].decode()
    words = [word for word in ("0", "1", "liver", "c001", "A", "[1, 3]", "images/c001.nii.gz", "255", "[liver]",
    "unite",
                               "separate", "label}", "c002") if word in text]  # fmt: skip
    word = pick(rng, words)
    new = pick(rng, ("-1", "1e400", "~", "[]", "{}", "'../../../etc/passwd'", "/etc/passwd", "true", "'a\\0b'",
    "2020-01-01",
                     "''", "'" + "x" * 5000 + "'", "[[[[]]]]", "9223372036854775808", "*none",
                     "'\\ud800'"))  # fmt: skip
    harmed = text.replace(word, new, 1)
    return Damage(sample.with_file(sample.main, harmed.encode()), f"{word} becomes {new[:30]}", VALID)


# ---- archives


@cache
def archive(method: int = zipfile.ZIP_DEFLATED) -> Sample:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packed:
        packed.writestr("study/README.txt", "not DICOM")
        for name, content in series("explicit").files.items():
            packed.writestr(f"study/ct/{name}", content)
    return Sample({"study.zip": stream.getvalue()}, "study.zip", ("study.zip",))


def hostile_archive(sample: Sample, rng: np.random.Generator) -> Damage:
    """Members with names that climb out, that are links, that are huge, or that lie about themselves."""
    kind = pick(rng, ("climbing", "absolute", "windows", "link", "bomb", "many", "nested", "twice", "encrypted",
    "size lie",
                      "crc", "method", "overlap", "name", "empty", "self"))  # fmt: skip
    files = dict(series("explicit").files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(f"ct/{name}", content)
        expect = _add(packed, kind, files, rng)
    content = stream.getvalue()
    if kind in ("encrypted", "size lie", "crc", "method"):
        content, expect = _lie(content, kind), VALID
    elif kind == "empty":
        content, expect = b"PK\x05\x06" + bytes(18), REFUSED
    elif kind == "overlap":
        content, expect = _overlapping(), REFUSED
    return Damage(sample.with_file(sample.main, content), f"zip: {kind}", expect)


def _add(packed: zipfile.ZipFile, kind: str, files: dict[str, bytes], rng: np.random.Generator) -> Expect:
    first = next(iter(files.values()))
    climbing = {"climbing": "../../../escaped.dcm", "absolute": "/tmp/escaped.dcm",
    "windows": "C:\\..\\..\\escaped.dcm",
                "name": "ct/\x00\x1b[31m" + "n" * 5000}  # fmt: skip
    if kind in climbing:
        packed.writestr(climbing[kind], first)
    elif kind == "link":
        info = zipfile.ZipInfo("ct/link.dcm")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    elif kind == "bomb":
        info = zipfile.ZipInfo("ct/zeros.dcm")
        info.compress_type = zipfile.ZIP_DEFLATED
        with packed.open(info, "w", force_zip64=True) as member:
            member.write(first[:400] if rng.random() < 0.5 else b"")
            for _ in range(64):
                member.write(bytes(1 << 23))
    elif kind == "many":
        for number in range(8_000):
            packed.writestr(f"junk/{number}", b"")
    elif kind == "nested":
        packed.writestr("ct/inner.zip", archive().files["study.zip"])
    elif kind == "twice":
        name, content = next(iter(files.items()))
        packed.writestr(f"again/{name}", content)
    else:
        packed.writestr("ct/study.zip", b"PK\x03\x04")
    return SAME


def _lie(content: bytes, kind: str) -> bytes:
    """Changes fields of the central directory's first entry (APPNOTE 4.3.12)."""
    harmed = bytearray(content)
    at = content.index(b"PK\x01\x02")
    if kind == "encrypted":
        harmed[at + 8] |= 1
    elif kind == "size lie":
        struct.pack_into("<II", harmed, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    elif kind == "crc":
        struct.pack_into("<I", harmed, at + 16, 0x12345678)
    else:
        struct.pack_into("<H", harmed, at + 10, 99)
    return bytes(harmed)


def _overlapping(members: int = 3000) -> bytes:
    """Every entry of the directory names the same 64 MB of zeros (D. Fifield, A better zip bomb, WOOT 2019)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(64)) + deflate.flush()
    size, crc = 64 << 20, zlib.crc32(bytes(64 << 20))
    head = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(packed), size, 1, 0) + b"a"
    entries = b"".join(
        struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(packed), size, 5, 0, 0, 0, 0, 0, 0
        )
        + f"{number:05d}".encode()
        for number in range(members)
    )
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, members, members, len(entries), len(head) + len(packed), 0)
    return head + packed + entries + end


FAMILIES = {
    "manifest": Family(lambda: (yaml_sample("dataset.yaml", DATASET),), read_manifest,
                       (yaml_bomb, yaml_bomb, absurd_word, absurd_word, *EVERY_FORMAT)),
    "rois": Family(lambda: (yaml_sample("rois.yaml", ROIS),), read_rules,
                   (yaml_bomb, yaml_bomb, absurd_word, slow_expression, slow_expression, *EVERY_FORMAT)),
    "zip": Family(lambda: (archive(), archive(zipfile.ZIP_STORED)), read_dicom, (hostile_archive,) * 5 + EVERY_FORMAT),
}  # fmt: skip
