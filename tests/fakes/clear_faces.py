"""Looks for faces that lie on a disk in clear."""

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import safetensors.numpy


def files_below(folder: Path) -> list[Path]:
    """Return the files that lie there now; unlike `rglob`, this bears folders that go meanwhile."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


class Searcher:
    """Looks through all files of these folders, again and again, for faces in clear."""

    def __init__(self, folders: Sequence[Path], parts: Iterable[bytes]) -> None:
        faces = [face for content in parts for face in safetensors.numpy.load(content).values()]
        self._folders = folders
        rows = (face[face.shape[0] // 2].tobytes()[:24] for face in faces[::4])
        # Signatures so long that no ciphertext has them by chance.
        pictures = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10JFIF")
        self._traces = frozenset((*rows, *pictures, b'.0":{"dtype":"U8"'))
        self.looks, self.found, self.files = 0, set[str](), set[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def look(self) -> None:
        """Look once."""
        for path in (path for folder in self._folders for path in files_below(folder)):
            with suppress(FileNotFoundError):  # it went meanwhile
                if path.is_file():
                    self.files.add(path.parent.name)
                    content = path.read_bytes()
                    if any(trace in content for trace in self._traces):
                        self.found.add(path.name)
        self.looks += 1

    def _go_on(self) -> None:
        while not self._stop.wait(0.3):
            self.look()

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End with a last look."""
        self._stop.set()
        self._thread.join()
        self.look()
