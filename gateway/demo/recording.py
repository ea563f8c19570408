"""Writes the demo's recordings without loss, so that what was drawn is what the decoder gives back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import av

from gateway.demo.drawing import frames
from gateway.demo.passages import DemoSettings, Passage
from gateway.errors import RuntimeFault

DRAWING_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 10.0

Drawn = Callable[[int], None]
"""Hears how many frames have been drawn, in the drawing thread."""


def write_recording(
    path: Path, settings: DemoSettings, passages: tuple[Passage, ...], *, stop: threading.Event, drawn: Drawn
) -> None:
    """Draw the passages and write them as FFV1 in Matroska; `stop`, once set, ends it within a frame.

    Raises:
        ConfigError: The photograph is not installed.
        OSError: The file cannot be written.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=settings.fps)
        stream.width, stream.height, stream.pix_fmt = settings.width_px, settings.height_px, "bgr0"
        stream.codec_context.thread_count = 1
        for index, picture_HWC in enumerate(frames(settings, passages)):
            if stop.is_set():
                return
            frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = index, Fraction(1, settings.fps)
            container.mux(stream.encode(frame))
            drawn(index + 1)
        container.mux(stream.encode())


@asynccontextmanager
async def drawing(
    path: Path, settings: DemoSettings, passages: tuple[Passage, ...], *, drawn: Drawn | None = None
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Write a recording in a thread while the block runs; await a call of what is yielded to have it complete.

    `drawn` is called on the event loop. The thread has ended when the block is left, for whatever reason.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    tell: Drawn = (lambda _: None) if drawn is None else partial(_tell, loop, stop, drawn)
    work = loop.run_in_executor(None, partial(write_recording, path, settings, passages, stop=stop, drawn=tell))
    try:
        yield partial(_completion, path, work)
    finally:
        stop.set()
        await asyncio.wait({work}, timeout=_STOP_TIMEOUT_S)
        if work.done():
            work.exception()  # whoever awaited it has seen it; nobody else needs to hear of it


def _tell(loop: asyncio.AbstractEventLoop, stop: threading.Event, drawn: Drawn, count: int) -> None:
    if not stop.is_set():
        loop.call_soon_threadsafe(drawn, count)


async def _completion(path: Path, work: asyncio.Future[None]) -> None:
    try:
        async with asyncio.timeout(DRAWING_TIMEOUT_S):
            # Shielded: a cancelled future would no longer tell when its thread has ended.
            await asyncio.shield(work)
    except TimeoutError as error:
        raise RuntimeFault(f"{path}: the recording was not drawn in {DRAWING_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise RuntimeFault(f"{path}: cannot be written ({error}); make room there, or set TMPDIR") from error
