"""The operator's page over a daemon that is not there."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fakes.web import app_over
from fakes.windows import IDENTITY, FakeWindow

from gateway.contract.evaluation import Cell, Evaluation, Found, Source, Trigger
from gateway.service.guard import Guard
from gateway.service.page.pictures import Mark, Marks, Watch
from gateway.service.page.routes import page_addition


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of a frame."""

    seq: int
    jpeg: bytes


async def no_pictures(_camera: str) -> AsyncGenerator[Shot, None]:
    """Yield nothing."""
    for picture in ():
        yield picture


def four_faces(_camera: str, seq: int) -> Marks:
    """Return a face of each kind; the clean one walks 10 px from frame to frame."""
    at_px = 40.0 + 10.0 * (seq % 8)
    clean = Mark((at_px, 60.0, at_px + 100.0, 180.0), "clean")
    triggered = Mark((300.0, 50.0, 420.0, 210.0), "triggered")
    unsure, judging = Mark((450.0, 20.0, 490.0, 60.0), "unsure"), Mark((540.0, 200.0, 610.0, 290.0), "judging")
    return Marks((640, 360), (clean, triggered, unsure, judging))


TRIGGERS = (*(f"t{number}" for number in range(6)), "further")


def small_evaluation(sha256: str = IDENTITY.sha256) -> Evaluation:
    """Return an evaluation of one cell, in which each of seven triggers is found as often as another tint says."""
    shares = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 0.0)
    found = {
        name: Found(faces=9, auroc=0.9, bdr=(share, share, share / 2))
        for name, share in zip(TRIGGERS, shares, strict=True)
    }
    cell = Cell(source="lfw", environment="dark", regime="jpeg", detector="shipped", fpr=(0.1, 0.06, 0.01), found=found)
    return Evaluation(
        model_sha256=sha256,
        results_sha256="cd" * 32,
        triggers={name: Trigger(title=name.title(), is_seen=name == "t0") for name in TRIGGERS},
        environments={"dark": "darker"},
        regimes={"jpeg": "behind JPEG"},
        sources={"lfw": Source(faces=9, people=1)},
        cells=(cell,),
    )


def page_over(window: FakeWindow, watch: Watch = no_pictures) -> Guard:
    """Return the application with the page."""
    return app_over(window, additions=[page_addition(window, watch, four_faces)])
