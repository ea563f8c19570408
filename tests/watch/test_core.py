"""A subscriber's mind: each message once, gaps asked for and told, whatever comes."""

import json
import random
from collections import Counter
from collections.abc import Callable

import pytest
from fakes.boxes import TOPICS, FakeBox, alert, flood_notice, gap_notice
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.messages import to_bytes
from gateway.contract.topics import OFFLINE, ONLINE
from gateway.watch import core
from gateway.watch.box import ANSWER_S, MAX_ATTEMPTS, MAX_SEQ, PATIENCE_S, Position
from gateway.watch.core import MAX_BOXES, Watch, to_request
from gateway.watch.steps import (
    Ask,
    Deliver,
    GapFilled,
    GapLost,
    GapNoticed,
    Garbled,
    HeldBack,
    NoAnswer,
    Renumbered,
    Step,
)

ALERTS, REPLAYED, AVAILABLE = "plant/alerts", "plant/alerts/replayed", "plant/available"
SOURCE = "spectragate/box"


class Play:
    """A watch on a clock of its own, with everything it did."""

    def __init__(self, **options: object) -> None:
        self.watch = Watch(TOPICS, **options)  # type: ignore[arg-type]
        self.now_s = 100.0
        self.steps: list[Step] = []

    def take(self, *payloads: bytes, topic: str = ALERTS) -> list[Step]:
        """Feed messages and return what followed."""
        steps = [step for one in payloads for step in self.watch.take(topic, one, now_s=self.now_s)]
        self.steps += steps
        return steps

    def tick(self, after_s: float) -> list[Step]:
        """Let time pass and return what followed."""
        self.now_s += after_s
        steps = self.watch.tick(self.now_s)
        self.steps += steps
        return steps

    def connect(self) -> None:
        """Say that the subscription stands."""
        self.watch.connected(self.now_s)

    def numbers(self) -> list[int | None]:
        """Return the numbers delivered, in order."""
        return [step.reading.seq for step in self.steps if isinstance(step, Deliver)]

    def kinds(self, *kinds: type) -> list[Step]:
        """Return the steps of some kinds."""
        return [step for step in self.steps if isinstance(step, kinds)]


def payloads(*seqs: int, **fields: object) -> list[bytes]:
    """Return the alerts with these numbers."""
    return [to_bytes(alert(seq, **fields)) for seq in seqs]  # type: ignore[arg-type]


def asked(steps: list[Step]) -> list[tuple[int, int]]:
    """Return what was asked for."""
    return [(step.first, step.last) for step in steps if isinstance(step, Ask)]


def test_duplicate_is_dropped_and_counted() -> None:
    """QoS 1 repeats; the operator sees each alert once."""
    play = Play()
    play.take(*payloads(5, 6, 6, 5, 7))
    assert play.numbers() == [5, 6, 7]
    assert (play.watch.counts.delivered, play.watch.counts.duplicates) == (3, 2)


def test_gap_is_noticed_asked_for_and_filled() -> None:
    """After the patience one request goes out; the answer fills the gap, and nothing is left to wait for."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(10)]
    play.take(*sent[:3], *sent[7:])
    assert play.watch.next_s == pytest.approx(100.0 + PATIENCE_S)
    assert play.tick(PATIENCE_S / 2) == []
    ask = play.tick(PATIENCE_S / 2)
    assert ask[0] == GapNoticed(SOURCE, 3, 6)
    assert isinstance(ask[1], Ask)
    play.now_s += 0.25
    filled = play.take(*box.answer(to_request(ask[1])), topic=REPLAYED)
    assert [step.late for step in filled if isinstance(step, Deliver)] == [True] * 4
    assert filled[-1] == GapFilled(SOURCE, 3, 6, pytest.approx(0.75))
    assert play.numbers() == [0, 1, 2, 7, 8, 9, 3, 4, 5, 6]
    assert play.watch.next_s is None


def test_gap_that_fills_by_itself_is_not_told() -> None:
    """Behind an outage the newest come first; while the rest follows, nobody asks."""
    play = Play()
    play.take(*payloads(1, 100))
    for seq in range(2, 100):
        assert play.tick(PATIENCE_S * 0.9) == []
        play.take(*payloads(seq))
    assert play.tick(60.0) == []
    assert sorted(play.numbers()) == list(range(1, 101))  # type: ignore[type-var]


def test_request_without_answer_is_repeated_and_then_given_up() -> None:
    """With growing pauses, a bounded number of times; the loss is reported, and a late answer still delivered."""
    play = Play()
    play.take(*payloads(1, 3))
    for _ in range(200):
        play.tick(1.0)
    assert asked(play.steps) == [(2, 2)] * MAX_ATTEMPTS
    assert play.kinds(GapNoticed, GapLost) == [GapNoticed(SOURCE, 2, 2), GapLost(SOURCE, 2, 2, "unanswered")]
    assert len({step.requester for step in play.steps if isinstance(step, Ask)}) == MAX_ATTEMPTS
    play.take(*payloads(2))
    assert play.numbers() == [1, 3, 2]


def test_answer_that_is_lost_on_its_way_is_asked_for_again() -> None:
    """The end came, a message did not: it is asked for alone."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(6)]
    play.take(sent[0], sent[5])
    (_, ask) = play.tick(PATIENCE_S)
    answer = box.answer(to_request(ask))  # type: ignore[arg-type]
    del answer[1]
    play.take(*answer, topic=REPLAYED)
    again = play.tick(1.0)
    assert asked(again) == [(2, 2)]
    assert not [step for step in again if isinstance(step, GapNoticed)]  # it was told already, as part of 1 to 4


def test_long_gap_is_asked_for_piece_by_piece_without_pause() -> None:
    """A box cuts long answers short; the next request follows at once."""
    play, box = Play(), FakeBox(most=100)
    sent = [box.accept(seq) for seq in range(2_502)]
    play.take(sent[0], sent[-1])
    steps = play.tick(PATIENCE_S)
    rounds = 0
    while requests := [step for step in steps if isinstance(step, Ask)]:
        rounds += 1
        play.take(*box.answer(to_request(requests[0])), topic=REPLAYED)
        steps = play.tick(0.0)
    assert sorted(play.numbers()) == list(range(2_502))  # type: ignore[type-var]
    assert 25 <= rounds <= 30
    assert play.steps[-1] == GapFilled(SOURCE, 1, 2_500, pytest.approx(0.5))


def test_scattered_gaps_close_together_are_one_request() -> None:
    """Every tenth message lost costs one request, not one each."""
    play = Play()
    play.take(*payloads(*(seq for seq in range(1, 400) if seq % 10)))
    assert asked(play.tick(PATIENCE_S)) == [(10, 390)]


def test_box_that_has_them_no_longer_ends_the_asking() -> None:
    """The answer says what is gone: lost at once, the others are delivered."""
    play, box = Play(), FakeBox(gone={2, 3})
    sent = [box.accept(seq) for seq in range(6)]
    play.take(sent[0], sent[5])
    (_, ask) = play.tick(PATIENCE_S)
    play.take(*box.answer(to_request(ask)), topic=REPLAYED)  # type: ignore[arg-type]
    assert play.numbers() == [0, 5, 1, 4]
    assert play.kinds(GapLost) == [GapLost(SOURCE, 2, 2, "gone"), GapLost(SOURCE, 3, 3, "gone")]
    assert play.watch.next_s is None


@pytest.mark.parametrize(
    ("notice", "told"),
    [
        (gap_notice(6, 2, 5), GapLost(SOURCE, 2, 5, "gone")),
        (flood_notice(6, 2, 5), HeldBack(SOURCE, 2, 5)),
    ],
)
def test_notice_explains_what_is_missing(notice: object, told: Step) -> None:
    """Gone and held back are not missing: nobody asks for them, and the notice itself is delivered."""
    play = Play()
    play.take(*payloads(1))
    steps = play.take(to_bytes(notice))  # type: ignore[arg-type]
    assert [type(step) for step in steps] == [Deliver, type(told)]
    assert steps[1] == told
    assert play.tick(60.0) == []
    assert play.numbers() == [1, 6]


def test_new_connection_asks_for_what_came_meanwhile() -> None:
    """The last alert before a silence leaves no gap to see: after each connection the newest are asked for."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(8)]
    play.take(*sent[:5])
    play.connect()
    (ask,) = play.tick(PATIENCE_S)
    assert asked([ask]) == [(5, MAX_SEQ)]
    play.take(*box.answer(to_request(ask)), topic=REPLAYED)  # type: ignore[arg-type]
    assert play.numbers() == list(range(8))
    assert play.watch.next_s is None


def test_unanswered_question_for_the_newest_is_dropped_in_the_end() -> None:
    """A box without an outbox never answers; that is no gap, but it is told."""
    play = Play()
    play.take(*payloads(1))
    play.connect()
    for _ in range(200):
        play.tick(1.0)
    assert len(asked(play.steps)) == MAX_ATTEMPTS
    assert play.kinds(GapNoticed, GapLost, NoAnswer) == [NoAnswer(SOURCE)]
    assert play.watch.next_s is None


def test_answer_reveals_what_was_never_seen() -> None:
    """The end of a replay names the newest number; what did not arrive up to there is missing."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(8)]
    play.take(*sent[:5])
    play.connect()
    (ask,) = play.tick(PATIENCE_S)
    play.take(box.answer(to_request(ask))[-1], topic=REPLAYED)  # type: ignore[arg-type]
    again = play.tick(PATIENCE_S)
    assert asked(again) == [(5, 7)]


def test_box_that_is_away_is_not_asked() -> None:
    """Requests that nobody can hear wait; when the box is back everything begins again."""
    play = Play()
    play.take(*payloads(1, 3))
    play.take(OFFLINE.encode(), topic=AVAILABLE)
    assert play.watch.next_s is None
    assert play.tick(3600.0) == []
    play.take(ONLINE.encode(), topic=AVAILABLE)
    assert asked(play.tick(PATIENCE_S)) == [(2, 2)]


def test_first_message_is_the_beginning_and_older_ones_are_still_taken() -> None:
    """Who comes in the middle of a backlog gets both its ends, and asks for nothing before."""
    play = Play()
    play.take(*payloads(50, 10, 11, 10, 51))
    assert play.numbers() == [50, 10, 11, 51]
    assert play.tick(60.0) == []


def test_since_a_number_everything_after_it_is_asked_for() -> None:
    """Also of boxes that say nothing by themselves; what lies before is not wanted."""
    play, box = Play(since_seq=3), FakeBox()
    for seq in range(8):
        box.accept(seq)
    play.connect()
    (ask,) = play.tick(PATIENCE_S)
    assert isinstance(ask, Ask)
    assert (ask.source, ask.first, ask.last) == (None, 4, MAX_SEQ)
    play.take(*box.answer(to_request(ask)), topic=REPLAYED)
    play.take(*payloads(2))
    assert play.numbers() == [4, 5, 6, 7]
    assert play.watch.next_s is None


def test_restarted_subscriber_goes_on_where_it_was() -> None:
    """Its positions hold the newest number and what was missing; neither is delivered twice."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(12)]
    play.take(*sent[3:5], *sent[7:9])
    later = Play(positions=play.watch.positions)
    later.connect()
    assert asked(later.tick(PATIENCE_S)) == [(5, 6)]
    later.take(*box.answer(b'{"from_seq":5,"to_seq":11,"requester":"x"}'), topic=REPLAYED)
    assert later.numbers() == [5, 6, 9, 10, 11]
    later.take(*sent)
    assert later.numbers() == [5, 6, 9, 10, 11, 0, 1, 2]  # older than all it knew: new to it


def test_position_survives_words() -> None:
    """What is exported builds the same box again."""
    play = Play()
    play.take(*payloads(5, 9))
    (position,) = play.watch.positions
    assert position == Position(SOURCE, 9, position.newest_s, missing=((6, 8),), quiet=((0, 4),))
    assert Play(positions=[position]).watch.positions == (position,)


def test_box_that_counts_anew_is_followed() -> None:
    """A box that lost its outbox begins again: its alerts are newer than all before, so they are no duplicates."""
    play = Play()
    play.take(*payloads(40, 41, 42))
    steps = play.take(*payloads(1, 2, time_s=1_769_999_999.0))
    assert steps[1] == Renumbered(SOURCE, 1)
    play.take(*payloads(1, 2, time_s=1_769_999_999.0))
    assert play.numbers() == [40, 41, 42, 1, 2]
    assert play.watch.counts.altered == 0


def test_other_content_under_a_known_id_is_told_and_not_delivered() -> None:
    """Whoever alters a repetition is noticed."""
    play = Play()
    play.take(*payloads(1))
    (told,) = play.take(*payloads(1, score=99.0))
    assert isinstance(told, Garbled)
    assert play.watch.counts.altered == 1


def test_boxes_are_kept_apart() -> None:
    """Each has its line, its gaps and its requests."""
    play = Play()
    play.take(*payloads(1, 3, client="one"), *payloads(7, 9, client="two"))
    play.take(*payloads(2, client="two"))
    requests = [step for step in play.tick(PATIENCE_S) if isinstance(step, Ask)]
    assert [(step.source, step.first) for step in requests] == [("spectragate/one", 2), ("spectragate/two", 8)]
    assert len({step.requester for step in requests}) == 2


def test_one_box_too_many_is_delivered_by_id_alone() -> None:
    """A flood of invented boxes takes no memory; their alerts come once all the same."""
    play = Play()
    for number in range(MAX_BOXES + 5):
        play.take(*payloads(1, 3, 3, client=f"box{number}"))
    assert len(play.numbers()) == 2 * (MAX_BOXES + 5)
    assert len(play.watch.positions) == MAX_BOXES


def test_replay_of_a_recording_has_no_line() -> None:
    """Its numbers count within the recording; its messages are told apart by their ids."""
    play = Play()
    one, two = (
        to_bytes(alert(1, client=name, replay=True, latency_ms=None).model_copy(update={"id": f"{name}-x-1-1"}))
        for name in ("a", "b")
    )
    play.take(one, two, one)
    assert play.numbers() == [None, None]


def test_ids_are_forgotten_beyond_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; numbers still tell duplicates of a box's line, however old."""
    monkeypatch.setattr(core, "WINDOW", 10)
    play = Play()
    play.take(*payloads(*range(100)))
    assert len(play.watch._ids) == 10
    play.take(*payloads(0, 50))
    assert len(play.numbers()) == 100


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    lambda payload, rng: rng.randbytes(rng.randrange(200)),
    lambda payload, rng: payload[: rng.randrange(len(payload))],
    lambda payload, rng: bytes(byte ^ (rng.random() < 0.01) << rng.randrange(8) for byte in payload),
    lambda payload, rng: payload.replace(b":", rng.choice([b":-", b":1e308,", b":null,", b":[", b""]), 1),
]


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_nothing_that_comes_in_raises(seed: int) -> None:
    """Any bytes on any topic are a value: delivered, or counted."""
    rng = random.Random(seed)
    play, box = Play(), FakeBox()
    genuine = [*(box.accept(seq) for seq in range(3)), *box.answer(b'{"from_seq":0,"to_seq":9,"requester":"w"}')]
    for _ in range(30):
        payload = rng.choice(MUTATIONS)(rng.choice(genuine), rng) if rng.random() < 0.8 else rng.choice(genuine)
        topic = rng.choice([ALERTS, REPLAYED, AVAILABLE, "plant/lobby/status", "else\0where"])
        play.take(payload, topic=topic)
        play.tick(rng.random())
    assert play.watch.counts.delivered == len(play.kinds(Deliver))


@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.3, 0.9]),
    size=st.integers(1, 300),
    answers_lost=st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_lossy_reordering_duplicating_way_ends_with_each_alert_once(
    seed: int, loss: float, size: int, answers_lost: float
) -> None:
    """Every accepted alert after the first is delivered exactly once or lies in a reported gap."""
    rng = random.Random(seed)
    play, box = Play(), FakeBox(most=rng.choice([3, 50, 1000]))
    stream = [box.accept(seq) for seq in range(size)]
    box.gone = {seq for seq in range(1, size) if rng.random() < 0.02}
    on_the_way = [(seq + rng.choice([0.0, 0.0, rng.uniform(0, 40)]), one) for seq, one in enumerate(stream[1:], 1)]
    on_the_way += [(at + rng.uniform(0, 40), one) for at, one in on_the_way if rng.random() < 0.1]
    play.take(stream[0])
    for _, payload in sorted(on_the_way, key=lambda each: each[0]):
        if rng.random() >= loss:
            play.take(payload)
        _carry(play, box, play.tick(0.005), rng, answers_lost)
    play.connect()
    for _ in range(600):
        if play.watch.next_s is None:
            break
        _carry(play, box, play.tick(0.5), rng, answers_lost)
    times = Counter(play.numbers())
    assert max(times.values()) == 1
    lost = {seq for step in play.kinds(GapLost) for seq in range(step.first, step.last + 1)}  # type: ignore[attr-defined]
    (position,) = play.watch.positions
    reach = position.highest + 1 if play.kinds(NoAnswer) else size
    assert set(range(reach)) <= set(times) | lost
    if answers_lost == 0.0:
        assert lost <= box.gone
    assert play.watch.next_s is None


def _carry(play: Play, box: FakeBox, steps: list[Step], rng: random.Random, lost: float) -> None:
    for step in steps:
        if isinstance(step, Ask) and rng.random() >= lost:
            for payload in box.answer(to_request(step)):
                if rng.random() >= lost:
                    play.take(payload, topic=REPLAYED)


def test_answer_under_way_is_waited_for() -> None:
    """Each message of an answer moves the deadline: a slow broker is not asked twice."""
    play, box = Play(), FakeBox()
    sent = [box.accept(seq) for seq in range(10)]
    play.take(sent[0], sent[9])
    (_, ask) = play.tick(PATIENCE_S)
    for payload in box.answer(to_request(ask)):  # type: ignore[arg-type]
        assert play.tick(ANSWER_S * 0.9) == []
        play.take(payload, topic=REPLAYED)
    assert play.numbers() == [0, 9, *range(1, 9)]


def test_message_that_was_here_is_a_duplicate_wherever_its_number_lies() -> None:
    """Two cameras' clocks may differ: even where the line was taken for a new one, no alert comes twice."""
    play = Play()
    play.take(*payloads(100, camera="gate"))
    play.take(*payloads(5, time_s=1_769_999_999.0))
    play.take(*payloads(100, camera="gate"))
    assert play.numbers() == [100, 5]


def test_box_that_comes_and_goes_all_the_time_is_asked_in_between() -> None:
    """Each return renews the questions but does not put them off."""
    play = Play()
    play.take(*payloads(1, 3))
    for _ in range(10):
        play.take(OFFLINE.encode(), topic=AVAILABLE)
        play.tick(0.05)
        play.take(ONLINE.encode(), topic=AVAILABLE)
        play.tick(0.05)
    assert asked(play.steps)[0] == (2, 2)


def test_box_that_never_came_so_far_is_not_asked_in_a_loop() -> None:
    """An answer that covers nothing of what was asked for counts as none: pauses grow, and there is an end."""
    play, box = Play(), FakeBox(last_seq=3)
    play.take(*payloads(10, 20))
    requests = 0
    for _ in range(400):
        for step in play.tick(0.5):
            if isinstance(step, Ask):
                requests += 1
                end = json.loads(box.answer(to_request(step))[-1])
                play.take(json.dumps({**end, "answered_to_seq": 3}).encode(), topic=REPLAYED)
    assert requests == MAX_ATTEMPTS
    assert play.kinds(GapLost) == [GapLost(SOURCE, 11, 19, "unanswered")]


def test_highest_number_there_can_be_asks_for_nothing_beyond() -> None:
    """Whoever invents it gets no request that no box could read."""
    play = Play()
    play.take(*payloads(5), to_bytes(alert(MAX_SEQ, time_s=1_769_860_900.0)))
    play.connect()
    for _ in range(100):
        for step in play.tick(5.0):
            if isinstance(step, Ask):
                assert to_request(step)
    assert play.watch.next_s is None


def test_box_that_speaks_is_there_whatever_another_said() -> None:
    """Two boxes on one prefix share `available`: the one that stopped does not speak for both."""
    play = Play()
    play.take(OFFLINE.encode(), topic=AVAILABLE)
    play.take(*payloads(1, 3, client="two"))
    assert asked(play.tick(PATIENCE_S)) == [(2, 2)]
