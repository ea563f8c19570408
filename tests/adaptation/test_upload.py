"""An upload: what the trainer reads is what was seen, a second try sends what is missing, every refusal has a name."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fakes.adaptation import FakeTrainer, faces

from gateway.adaptation import upload as upload_module
from gateway.adaptation.collect import Choice, CleanFace
from gateway.adaptation.upload import MAX_ANSWER_BYTES, job, pack, upload
from gateway.contract.exchange import MAX_PART_BYTES, JobState, read_part
from gateway.errors import ExchangeError, ExchangeReason


def some(count: int = 6, side_px: int = 32) -> list[CleanFace]:
    """Return faces of a morning."""
    pictures = faces(count, seed=1, side_px=side_px)
    return [CleanFace("lobby", 1_800_000_000.0 + index, 0.5, pictures[index]) for index in range(count)]


def test_parts_when_read_by_the_trainer() -> None:
    """Every face is in the part of its kind; neither camera nor second leaves the box, and the order tells nothing."""
    given = some()
    clean_set, contents = pack(given, Choice((0, 2, 4, 5), (1, 3)), gateway="box", environment="hall")
    read = {part.kind: read_part(contents[part.sha256], part) for part in clean_set.parts}
    for kind, places in (("clean", (0, 2, 4, 5)), ("held_back", (1, 3))):
        assert {face.pixels_YXC.tobytes() for face in read[kind]} == {given[at].pixels_YXC.tobytes() for at in places}
    assert clean_set.collected_from == "2027-01-15"
    assert b"lobby" not in clean_set.to_bytes()
    turned, _ = pack(given[::-1], Choice((5, 3, 1, 0), (4, 2)), gateway="box", environment="hall")
    assert turned == clean_set


def test_parts_when_faces_are_many_and_large() -> None:
    """No part is larger or fuller than agreed."""
    given = some(100, side_px=256)
    clean_set, contents = pack(given, Choice(tuple(range(100)), ()), gateway="box", environment="hall")
    assert sum(part.faces for part in clean_set.parts) == 100
    assert all(len(content) <= MAX_PART_BYTES for content in contents.values())


async def test_upload_when_it_broke_off() -> None:
    """The second try sends only what the first did not; a third sends nothing and gets the same job."""
    clean_set, contents = pack(some(), Choice((0, 1, 2), (3, 4, 5)), gateway="box", environment="hall")
    trainer = FakeTrainer(fails_at=2)
    async with trainer.client() as client:
        with pytest.raises(ExchangeError) as caught:
            await upload(client, clean_set, contents)
        assert caught.value.reason is ExchangeReason.UNREACHABLE
        first = await upload(client, clean_set, contents)
        assert await upload(client, clean_set, contents) == first
        assert getattr(await job(client, first.job), "state", None) is JobState.QUEUED
    assert sorted(trainer.parts) == sorted(contents)
    assert trainer.puts == len(contents)
    assert trainer.tokens == {"Bearer token-of-the-trainer"}


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (401, b"", ExchangeReason.REFUSED),
        (200, b"{}", ExchangeReason.INVALID),
        (200, b"x" * (MAX_ANSWER_BYTES + 1), ExchangeReason.TOO_LARGE),
        (200, b'{"missing": ["' + b"0" * 64 + b'"]}', ExchangeReason.INVALID),
    ],
)
async def test_upload_when_the_trainer_answers_otherwise(status: int, content: bytes, reason: ExchangeReason) -> None:
    """It ends with the word for it."""
    clean_set, contents = pack(some(), Choice((0, 1, 2), (3,)), gateway="box", environment="hall")
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=content))
    async with httpx2.AsyncClient(transport=transport, base_url="https://trainer") as client:
        with pytest.raises(ExchangeError) as caught:
            await upload(client, clean_set, contents)
    assert caught.value.reason is reason


class Dripping(httpx2.AsyncByteStream):
    """An answer that comes byte by byte and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield a byte now and then."""
        while True:
            yield b" "
            await asyncio.sleep(0.01)


async def test_upload_when_the_answer_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the answer does not: clean faces and operators' words wait behind it."""
    monkeypatch.setattr(upload_module, "ANSWER_S", 0.2)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Dripping()))
    async with httpx2.AsyncClient(transport=transport, base_url="https://trainer") as client:
        with pytest.raises(ExchangeError, match=r"did not answer within 0\.2 s") as caught:
            await job(client, "job-1")
    assert caught.value.reason is ExchangeReason.UNREACHABLE
