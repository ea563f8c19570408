"""The file in which a subscriber keeps how far it is, so that after a restart it asks for what it missed."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import ConfigError
from gateway.watch.box import MAX_SEQ, Position
from gateway.watch.core import MAX_BOXES
from gateway.watch.gaps import MAX_RANGES

MAX_STATE_BYTES = 16 * 2**20
_Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]
_Spans = Annotated[tuple[tuple[_Seq, _Seq], ...], Field(max_length=MAX_RANGES)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="null")


class _Box(_Model):
    source: str = Field(min_length=1, max_length=256)
    highest: int = Field(ge=-1, le=MAX_SEQ)
    newest_s: float | None = Field(allow_inf_nan=False)
    missing: _Spans
    quiet: _Spans

    @model_validator(mode="after")
    def _check(self) -> Self:
        before = -1
        for first, last in sorted(self.missing + self.quiet):
            if not before < first <= last <= self.highest:
                raise ValueError("ranges must not overlap, and end at the highest number")
            before = last
        return self


class _State(_Model):
    version: Literal[1] = 1
    boxes: tuple[_Box, ...] = Field(max_length=MAX_BOXES)


def load_positions(path: Path) -> tuple[Position, ...]:
    """Return what the file holds; nothing where there is none yet.

    Raises:
        ConfigError: The file cannot be read, or holds something else; the text says what to do.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"--state {path}: cannot be read: {error.strerror}") from None
    try:
        state = _State.model_validate_json(text)
    except ValidationError:
        raise ConfigError(
            f"--state {path}: is no state of `spectragate watch`: name another file, or remove this one to begin anew"
        ) from None
    return tuple(_position(box) for box in state.boxes)


def _position(box: _Box) -> Position:
    newest_s = float("-inf") if box.newest_s is None else box.newest_s
    return Position(box.source, box.highest, newest_s, missing=box.missing, quiet=box.quiet)


def save_positions(path: Path, positions: Iterable[Position]) -> None:
    """Replace the file as a whole: after a power cut it holds the old state or the new one, never a part.

    Raises:
        ConfigError: It cannot be written.
    """
    boxes = tuple(_box(position) for position in positions)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            _write(draft, _State(boxes=boxes).model_dump_json().encode())
            draft.replace(path)
            _sync(path.parent)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"--state {path}: cannot be written: {error.strerror}") from None


def _box(position: Position) -> _Box:
    newest_s = None if position.newest_s == float("-inf") else position.newest_s
    return _Box(
        source=position.source,
        highest=position.highest,
        newest_s=newest_s,
        missing=position.missing,
        quiet=position.quiet,
    )


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the new name in the folder as durable as the file's content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
