"""Which files are pictures, and in which order they come; light enough for the parent, which decodes nothing."""

import re

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of pictures that are read here, in lower case."""


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a sort key that puts picture-2 before picture-10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(False, int(part), "") if "0" <= part[0] <= "9" else (True, 0, part.casefold()) for part in parts], name
