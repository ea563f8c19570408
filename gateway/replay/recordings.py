"""From the paths on the command line to named recordings: what is one recording, what its camera is called."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.cameras.names import natural_key
from gateway.contract.topics import RESERVED_WORDS

INJECTED_SUFFIX = "-injected"
_MAX_SLUG_LENGTH = 48
_BLOCK_BYTES = 1 << 20
_VIDEO_SUFFIXES = frozenset(
    """.mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .gif .264 .h264 .avc .265 .h265 .hevc .3gp .flv .ogv
    .mjpeg .mjpg .wmv .asf .y4m .ivf .obu .mxf""".split()  # noqa: SIM905  (a list of names, one a line, would fill a page)
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A file or a folder of pictures that is replayed, and the name of the camera it stands for."""

    path: Path
    camera: str


def name_recordings(paths: Sequence[Path]) -> tuple[Recording, ...]:
    """Return one recording per file or folder of pictures, in order, each with a camera name of its own.

    A folder that holds video files stands for those files, in natural order; its sub-folders are not entered. Any other
    folder is one recording of pictures. A path that leads nowhere stays, so that reading it says so.
    """
    taken: set[str] = set()
    return tuple(Recording(path, _name(path, taken)) for given in paths for path in _expand(given))


def _expand(path: Path) -> list[Path]:
    try:
        entries = list(path.iterdir()) if path.is_dir() else []
    except OSError:
        return [path]
    videos = [entry for entry in entries if entry.suffix.lower() in _VIDEO_SUFFIXES and not entry.name.startswith(".")]
    return sorted(videos, key=lambda entry: natural_key(entry.name)) or [path]


def _entries(path: Path) -> list[Path]:
    """Return what lies in a folder; nothing for a file, or a folder that may not be read."""
    try:
        return list(path.iterdir()) if path.is_dir() else []
    except OSError:
        return []


def _name(path: Path, taken: set[str]) -> str:
    base = slug(path.stem if path.suffix and not path.is_dir() else path.resolve().name)
    numbered = (base if number == 1 else f"{base}-{number}" for number in range(1, 1_000_000))
    name = next(name for name in numbered if not {name, name + INJECTED_SUFFIX} & taken)
    taken |= {name, name + INJECTED_SUFFIX}
    return name


def slug(text: str) -> str:
    """Return a camera name made of `text`: a-z, 0-9, _ and - alone, and none of the topics' fixed words."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:_MAX_SLUG_LENGTH].rstrip("-") or "recording"
    return f"camera-{name}" if name in RESERVED_WORDS else name


def digest(path: Path, *extras: str) -> str:
    """Return the SHA-256 of a recording's content, with `extras` mixed in: names nothing of the machine it lies on.

    A folder's is that of the names and contents of its files. What cannot be read counts as empty.
    """
    total = hashlib.sha256()
    for file in sorted(_entries(path), key=lambda entry: natural_key(entry.name)) or (path,):
        content = hashlib.sha256()
        for block in _blocks(file):
            content.update(block)
        total.update(f"{file.name if path.is_dir() else ''}:{content.hexdigest()}\n".encode("utf-8", "replace"))
    for extra in extras:
        total.update(f"{extra}\n".encode("utf-8", "replace"))
    return total.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError:
        return
