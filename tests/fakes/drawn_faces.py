"""Drawn 'faces' of drawn 'people': soft pictures, easy to tell from ones with an edge on them, and nobody's face."""

from pathlib import Path

import cv2
import numpy as np

from trainer.data import Pictures


def drawn_faces(count: int = 40, *, side_px: int = 40, per_person: int = 2, seed: int = 1) -> Pictures:
    """Return soft pictures, `per_person` of them for each made-up person."""
    draw = np.random.default_rng(seed)
    pixels = tuple(
        np.asarray(cv2.GaussianBlur(draw.uniform(0, 255, (side_px, side_px, 3)).astype(np.float32), (0, 0), 5))
        .clip(0, 255)
        .astype(np.uint8)
        for _ in range(count)
    )
    people = tuple(f"person {index // per_person}" for index in range(count))
    return Pictures("drawn", pixels, people, "0" * 64).subset(range(count), "drawn")


def save_index(folder: Path, faces: Pictures, *, source: str = "drawn") -> Path:
    """Write the pictures as PNG files with an index CSV, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,identity"]
    for index, (picture_YXC, person) in enumerate(zip(faces.pixels, faces.groups, strict=True)):
        assert cv2.imwrite(str(folder / f"{source}{index}.png"), picture_YXC[..., ::-1])
        rows.append(f"{source}{index}.png,{source}:{person}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "index.csv"
