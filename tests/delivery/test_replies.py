"""Replays: the very bytes, in order, bounded, and honest about what is missing."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import ScriptedBroker
from fakes.links import running, settings, settled
from fakes.outboxes import accept, open_outbox
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.contract.messages import ReplayEnd, parse
from gateway.contract.topics import Topics
from gateway.delivery import replies as replies_module
from gateway.delivery.link import Link
from gateway.delivery.outbox import Outbox
from gateway.delivery.replies import MAX_WAITING, Replies

TOPICS = Topics("spectragate")


def ask(from_seq: int, to_seq: int, **more: Any) -> bytes:
    """Return a question."""
    return json.dumps({"from_seq": from_seq, "to_seq": to_seq, **more}).encode()


@asynccontextmanager
async def answering(folder: Path, count: int) -> AsyncIterator[tuple[ScriptedBroker, Replies, Outbox]]:
    """Answer questions out of an outbox of so many alerts."""
    async with ScriptedBroker().running() as broker, open_outbox(folder) as outbox:
        await accept(outbox, count)
        replies = Replies(outbox, TOPICS, source="spectragate/box")
        async with running(Link(settings(broker.port)), replies.answer):
            yield broker, replies, outbox


def answers(broker: ScriptedBroker) -> tuple[list[int], list[ReplayEnd]]:
    """Return the numbers that came again and the ends."""
    seqs, ends = [], []
    for each in broker.published:
        if each.topic == TOPICS.replayed:
            fields = json.loads(each.payload)
            if "seq" in fields:
                seqs.append(fields["seq"])
            else:
                end = parse(each.payload)
                assert isinstance(end, ReplayEnd)
                ends.append(end)
    return seqs, ends


async def test_replay_when_all_is_there(tmp_path: Path) -> None:
    """Delivered or not: what was asked for comes, and then the end."""
    async with answering(tmp_path, 10) as (broker, replies, outbox):
        await outbox.delivered(await outbox.pending(5))
        replies.ask(ask(3, 7, requester="desk"))
        await settled(lambda: answers(broker)[1])
        seqs, (end,) = answers(broker)
    assert seqs == [3, 4, 5, 6, 7]
    assert (end.requester, end.sent, end.missing, end.answered_to_seq, end.last_seq) == ("desk", 5, (), 7, 10)


async def test_replay_when_some_are_gone(tmp_path: Path) -> None:
    """The end lists them, so that nobody asks for ever."""
    async with answering(tmp_path, 4) as (broker, replies, outbox):
        for _ in range(3):
            await outbox.give_up(outbox.next_seq())
        await accept(outbox, 2)
        replies.ask(ask(0, 100))
        await settled(lambda: answers(broker)[1])
        seqs, (end,) = answers(broker)
    assert seqs == [1, 2, 3, 4, 8, 9]
    assert (end.missing, end.answered_to_seq, end.last_seq) == (((5, 7),), 9, 9)


async def test_replay_when_nothing_is_new(tmp_path: Path) -> None:
    """A question for what has not happened yet is answered at once, with how far the box is."""
    async with answering(tmp_path, 4) as (broker, replies, _):
        replies.ask(ask(5, 2**53 - 1))
        await settled(lambda: answers(broker)[1])
        seqs, (end,) = answers(broker)
    assert (seqs, end.sent, end.missing, end.last_seq) == ([], 0, (), 4)


async def test_replay_when_the_range_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in pieces: each end says how far it reaches, and the next question goes on from there."""
    monkeypatch.setattr(replies_module, "MAX_PER_ANSWER", 20)
    monkeypatch.setattr(replies_module, "_PAGE", 10)
    async with answering(tmp_path, 45) as (broker, replies, _):
        seq = 1
        for number in range(1, 4):
            replies.ask(ask(seq, 45))
            await settled(lambda number=number: len(answers(broker)[1]) == number)  # type: ignore[misc]
            reached = answers(broker)[1][-1].answered_to_seq
            assert reached is not None
            seq = reached + 1
        seqs, ends = answers(broker)
    assert seqs == list(range(1, 46))
    assert [end.answered_to_seq for end in ends] == [20, 40, 45]


async def test_questions_when_they_are_too_many(tmp_path: Path) -> None:
    """One of each requester waits, and of requesters no more than so many; the others are counted."""
    async with open_outbox(tmp_path) as outbox:
        replies = Replies(outbox, TOPICS, source="spectragate/box")
        for number in range(MAX_WAITING + 5):
            replies.ask(ask(1, 2, requester=f"r{number}"))
            replies.ask(ask(1, 3, requester="r0"))
        replies.ask(b"nonsense")
        replies.ask(ask(1, 2, source="spectragate/another"))
        assert replies.dropped == 6


async def test_questions_when_nonsense_comes_in_a_flood(tmp_path: Path) -> None:
    """All of it is counted, and little of it logged: whoever may publish must not fill the disk."""
    async with open_outbox(tmp_path) as outbox:
        replies = Replies(outbox, TOPICS, source="spectragate/box")
        with capture_logs() as logs:
            for _ in range(1_000):
                replies.ask(b"nonsense")
    assert replies.dropped == 1_000
    assert 1 <= len(logs) < 50


@given(payload=st.binary(max_size=200))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
async def test_questions_when_bytes_are_random(tmp_path: Path, payload: bytes) -> None:
    """Nothing is raised into the loop."""
    async with open_outbox(tmp_path) as outbox:
        Replies(outbox, TOPICS, source="spectragate/box").ask(payload)
