"""Whether a reconstruction kernel smooths or sharpens: sharp kernels add noise and change texture and edges."""

from __future__ import annotations

import re

SMOOTH, SHARP = "smooth", "sharp"
# Names from the vendors' DICOM conformance statements (ConvolutionKernel, PS3.3 C.8.2.1)
GE = {"SOFT": SMOOTH, "STANDARD": SMOOTH, "DETAIL": SMOOTH, "CHST": SMOOTH, "CHEST": SMOOTH,
      "LUNG": SHARP, "BONE": SHARP, "BONEPLUS": SHARP, "EDGE": SHARP, "ULTRA": SHARP}  # fmt: skip
PHILIPS = {"A": SMOOTH, "B": SMOOTH, "C": SMOOTH, "UA": SMOOTH, "UB": SMOOTH, "UC": SMOOTH, "SA": SMOOTH,
           "SB": SMOOTH, "D": SHARP, "E": SHARP, "L": SHARP, "F": SHARP, "YA": SHARP, "YB": SHARP, "YC": SHARP,
           "YD": SHARP}  # fmt: skip
SIEMENS = re.compile(r"[A-Z][A-Z]?(\d{2})[A-Z]{0,2}(?:[\\_/ ]\d+)?")  # B30f, Br40d, I31f\3: the number is the sharpness
SIEMENS_SHARP = 50
CANON = re.compile(r"FC(\d{2})")
CANON_SMOOTH, CANON_HEAD = 20, range(20, 30)  # FC01 to FC19 body, FC20 to FC29 head, above bone, lung and inner ear


def kernel_family(kernel: str) -> str:
    """`smooth`, `sharp`, or nothing for a kernel whose name says nothing.

    >>> [kernel_family(name) for name in ("B30f", "Br64d", "BONEPLUS", "FC52", "")]
    ['smooth', 'sharp', 'sharp', 'sharp', '']
    """
    name = kernel.strip().upper()
    if known := GE.get(name) or PHILIPS.get(name):
        return known
    if match := CANON.match(name):
        number = int(match[1])
        return SMOOTH if number < CANON_SMOOTH or number in CANON_HEAD else SHARP
    if match := SIEMENS.fullmatch(name):
        return SHARP if int(match[1]) >= SIEMENS_SHARP else SMOOTH
    return ""
