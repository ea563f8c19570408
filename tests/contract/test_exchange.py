"""The exchange of clean sets: what is read from a part, and what is refused."""

import hashlib

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import ValidationError

from gateway.contract.exchange import CleanSet, ExchangeFormatError, JobState, Part, face_name, read_part


def packed(faces: dict[str, NDArray[np.generic]], *, count: int | None = None) -> tuple[bytes, Part]:
    """Return a part's bytes and its description."""
    content = safetensors.numpy.save(faces)
    sha256 = hashlib.sha256(content).hexdigest()
    return content, Part(sha256=sha256, length_bytes=len(content), faces=count or len(faces))


def face(side: int = 32, fill: int = 7) -> NDArray[np.uint8]:
    """Return a flat crop."""
    return np.full((side, side, 3), fill, np.uint8)


def test_a_part_reads_back_when_crops_differ_in_size() -> None:
    """Native sizes and the tracks come back as they were put."""
    content, part = packed({face_name(3, 0): face(32), face_name(12, 1): face(200, 9)})
    assert [(each.track, each.pixels_YXC.shape[0]) for each in read_part(content, part)] == [(12, 200), (3, 32)]


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("a", face(), "<track>.<index>"),
        ("1.0", face(257), "16 to 256 px"),
        ("1.0", face(8), "16 to 256 px"),
        ("1.0", np.zeros((32, 31, 3), np.uint8), "square|side"),
        ("1.0", np.zeros((32, 32, 3), np.float32), "uint8"),
    ],
)
def test_a_part_is_refused_when_it_holds_anything_but_crops(
    name: str, pixels: NDArray[np.generic], message: str
) -> None:
    """Names, types, shapes and sizes are all checked."""
    content, part = packed({name: pixels})
    with pytest.raises(ExchangeFormatError, match=message):
        read_part(content, part)


def test_a_part_is_refused_when_any_byte_differs_or_the_count_is_wrong() -> None:
    """Digest, length and number of faces are the description's."""
    content, part = packed({"1.0": face()})
    for wrong in (content[:-1], content + b"0", content[:-1] + b"0"):
        with pytest.raises(ExchangeFormatError, match="digest differ"):
            read_part(wrong, part)
    content, part = packed({"1.0": face()}, count=2)
    with pytest.raises(ExchangeFormatError, match="holds 1 faces"):
        read_part(content, part)


def test_a_part_that_is_no_safetensors_file_is_refused_in_words() -> None:
    """What the reader of bundles refuses is this contract's error."""
    content = b"\xff" * 64
    part = Part(sha256=hashlib.sha256(content).hexdigest(), length_bytes=64, faces=1)
    with pytest.raises(ExchangeFormatError, match="header"):
        read_part(content, part)


def test_a_clean_set_has_one_name_and_each_part_once() -> None:
    """The digest survives a round trip; a part named twice, or none of clean faces, is refused."""
    _, part = packed({"1.0": face()})
    facts = {"gateway": "gate-1", "environment": "hall", "collected_from": "a", "collected_to": "b"}
    described = CleanSet(**facts, parts=(part,))
    assert CleanSet.model_validate_json(described.to_bytes()).sha256 == described.sha256
    with pytest.raises(ValidationError, match="twice"):
        CleanSet(**facts, parts=(part, part))
    with pytest.raises(ValidationError, match="no part of clean faces"):
        CleanSet(**facts, parts=(part.model_copy(update={"kind": "held_back"}),))


def test_a_job_is_final_when_nothing_more_happens_to_it() -> None:
    """Queued and running are not."""
    assert [state.value for state in JobState if not state.is_final] == ["queued", "running"]
