"""The parent's lines to workers: offers and answers, and the seats of those who watch."""

import asyncio
import contextlib

import pytest

from gateway.cameras import asked, lines, wire
from gateway.cameras.lines import Line, LineError, Lines

JPEG = b"\xff\xd8\xff picture"


def line_to(sent: list[bytes]) -> Line:
    """Return a line that notes what goes through."""
    return Line(sent.append)


async def test_an_offer_gets_the_answer_of_its_number() -> None:
    """The worker's word is handed back as it is."""
    sent: list[bytes] = []
    known = Lines()
    with known.connected("gate", line_to(sent)) as line:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(known.offer("gate", b"v=0"), name="asking")
            await asyncio.sleep(0)
            line.take(wire.Answered(1, b"answer"))
        assert asking.result() == wire.Answered(1, b"answer")
    assert sent == [asked.pack(asked.Offer(1, b"v=0"))]


async def test_a_second_offer_is_refused_while_the_first_is_answered() -> None:
    """A worker answers one at a time, so nothing gathers."""
    line = line_to([])
    first = asyncio.ensure_future(line.offer(b"1"))
    await asyncio.sleep(0)
    with pytest.raises(LineError, match="another offer"):
        await line.offer(b"2")
    line.end()
    with pytest.raises(LineError, match="ended while it answered"):
        await first


async def test_an_offer_is_refused_when_no_worker_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits a moment, because one may just be starting."""
    monkeypatch.setattr(lines, "WORKER_S", 0.05)
    with pytest.raises(LineError, match="not watched now"):
        await Lines().offer("gate", b"v=0")


async def test_an_offer_is_refused_when_its_worker_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher is not kept waiting."""
    monkeypatch.setattr(lines, "ANSWER_S", 0.05)
    with pytest.raises(LineError, match="does not answer"):
        await line_to([]).offer(b"v=0")


@pytest.mark.parametrize("number", [0, 1])
def test_an_answer_is_a_breach_when_nobody_asked(number: int) -> None:
    """A worker that makes answers up is no longer ours."""
    with pytest.raises(wire.WireError):
        line_to([]).take(wire.Declined(number, 400, "no"))


async def test_a_worker_makes_pictures_only_while_somebody_watches() -> None:
    """The first who comes switches them on, the last who goes off; a new worker is told again."""
    sent: list[bytes] = []
    known = Lines()
    show, hide = asked.pack(asked.Show(is_on=True)), asked.pack(asked.Show(is_on=False))
    with known.connected("gate", line_to(sent)):
        async with contextlib.aclosing(known.watch("gate")) as pictures, asyncio.TaskGroup() as group:
            seeing = group.create_task(anext(pictures), name="seeing")
            await asyncio.sleep(0)
            known.show("gate", wire.Preview(1, b"\xff\xd8\xff older"))
            known.show("gate", wire.Preview(2, JPEG))
            assert await seeing == wire.Preview(2, JPEG)
            with known.connected("gate", line_to(sent)):
                pass
    assert sent == [show, show]
    with known.connected("gate", line_to(sent)):
        async with contextlib.aclosing(known.watch("gate")) as pictures, asyncio.TaskGroup() as group:
            seeing = group.create_task(anext(pictures), name="seeing")
            await asyncio.sleep(0)
            known.show("gate", wire.Preview(3, JPEG))
            await seeing
    assert sent == [show, show, show, hide]


async def test_a_late_answer_is_passed_over_and_no_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked has given up and another asks; an answer that comes twice is a breach all the same."""
    monkeypatch.setattr(lines, "ANSWER_S", 0.05)
    line = line_to([])
    with pytest.raises(LineError, match="does not answer"):
        await line.offer(b"1")
    monkeypatch.setattr(lines, "ANSWER_S", 20.0)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(line.offer(b"2"), name="asking")
        await asyncio.sleep(0)
        line.take(wire.Declined(1, 422, "late"))
        await asyncio.sleep(0)
        assert not asking.done()
        line.take(wire.Answered(2, b"answer"))
    assert asking.result() == wire.Answered(2, b"answer")
    for number in (1, 2, 3):
        with pytest.raises(wire.WireError):
            line.take(wire.Answered(number, b"again"))


async def test_a_viewer_and_a_publisher_do_not_wait_for_one_another() -> None:
    """One offer of each kind may be under way, and each gets its own answer."""
    line = line_to([])
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(line.offer(b"1"), name="publishing")
        viewing = group.create_task(line.offer(b"2", asked.View), name="viewing")
        await asyncio.sleep(0)
        with pytest.raises(LineError, match="another offer"):
            await line.offer(b"3", asked.View)
        line.take(wire.Answered(2, b"to the viewer"))
        line.take(wire.Declined(1, 409, "to the publisher"))
    assert viewing.result() == wire.Answered(2, b"to the viewer")
    assert publishing.result() == wire.Declined(1, 409, "to the publisher")


async def test_no_more_is_asked_of_a_worker_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it owes is remembered, and bounded."""
    monkeypatch.setattr(lines, "ANSWER_S", 0.0)
    sent: list[bytes] = []
    line = line_to(sent)
    for _ in range(3 * lines.MOST_UNANSWERED):
        with pytest.raises(LineError):
            await line.offer(b"v=0")
    assert len(sent) == lines.MOST_UNANSWERED + 1
