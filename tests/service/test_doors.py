"""Secrets, sessions, and the pause for whoever guesses."""

from structlog.testing import capture_logs

from gateway.service.doors import (
    MOST_ADDRESSES,
    MOST_BEGUN,
    MOST_FAILURES,
    MOST_SESSIONS,
    SESSION_S,
    WINDOW_S,
    Doors,
    Failures,
    Session,
)
from gateway.settings import COMMANDS_PER_MINUTE


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now_s


def test_token_when_shown_whole_alone_passes() -> None:
    """Neither its beginning, nor more than it, nor nothing is the token."""
    doors = Doors("0123456789abcdef")
    assert doors.takes_token("0123456789abcdef")
    for wrong in ("", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "\udcff", "é"):
        assert not doors.takes_token(wrong)


def test_session_when_the_password_is_right() -> None:
    """Its names are long and different; without a password of its own the token opens the page."""
    doors = Doors("0123456789abcdef", "open sesame")
    assert doors.open_session("0123456789abcdef") is None
    session = doors.open_session("open sesame")
    assert session is not None
    assert doors.session(session.name) is session
    assert len(session.name) > 40
    assert session.csrf not in {session.name, ""}
    assert session.name not in repr(session)
    assert Doors("0123456789abcdef").open_session("0123456789abcdef") is not None


def test_session_when_it_is_over() -> None:
    """After its time and after its end there is none any more."""
    clock = Clock()
    doors = Doors("0123456789abcdef", clock=clock)
    first, second = doors.open_session("0123456789abcdef"), doors.open_session("0123456789abcdef")
    assert first is not None
    assert second is not None
    doors.close_session(first.name)
    assert doors.session(first.name) is None
    clock.now_s += SESSION_S
    assert doors.session(second.name) is None


def test_what_a_session_began_ends_with_it() -> None:
    """By a logout, by its time, or in the place of a new one; what begins after it ends at once, nothing twice."""
    clock, ended = Clock(), []
    doors = Doors("0123456789abcdef", clock=clock)
    sessions = [doors.open_session("0123456789abcdef") for _ in range(3)]
    for name, session in zip("abc", sessions, strict=True):
        assert session is not None
        session.begin(lambda name=name: ended.append(name))
        session.begin(lambda name=name: ended.append(name.upper()))
    first, second, third = [session for session in sessions if session is not None]
    doors.close_session(second.name)
    doors.close_session(second.name)
    assert ended == ["b", "B"]
    second.begin(lambda: ended.append("late"))
    assert ended == ["b", "B", "late"]
    for _ in range(MOST_SESSIONS - 1):
        doors.open_session("0123456789abcdef")
    assert ended[3:] == ["a", "A"]
    clock.now_s += SESSION_S
    assert doors.session(third.name) is None
    assert ended[5:] == ["c", "C"]
    assert first.is_over


def test_what_has_ended_by_itself_is_not_ended_again() -> None:
    """And only so much is remembered, the newest."""
    session, ended = Session("name", "csrf", 1e9), list[int]()
    for number in range(MOST_BEGUN + 2):
        forget = session.begin(lambda number=number: ended.append(number))
    forget()
    forget()
    session.close()
    assert ended == list(range(2, MOST_BEGUN + 1))
    forget()


def test_oldest_session_ends_when_there_are_too_many() -> None:
    """Memory stays bounded."""
    doors = Doors("0123456789abcdef")
    sessions = [doors.open_session("0123456789abcdef") for _ in range(MOST_SESSIONS + 1)]
    assert [doors.session(each.name) is None for each in sessions if each] == [True] + [False] * MOST_SESSIONS


def test_address_waits_when_it_guessed_too_often() -> None:
    """Ten a minute and no more; another address is not concerned, and the minute passes."""
    clock = Clock()
    failures = Failures(clock=clock)
    for _ in range(MOST_FAILURES):
        assert failures.pause_s("192.0.2.1") == 0.0
        failures.note("192.0.2.1")
        clock.now_s += 1.0
    assert failures.pause_s("192.0.2.1") == WINDOW_S - MOST_FAILURES
    assert failures.pause_s("192.0.2.2") == 0.0
    clock.now_s += WINDOW_S - MOST_FAILURES
    assert failures.pause_s("192.0.2.1") == 0.0


def test_address_of_ipv6_that_guesses_cannot_take_another_of_its_network() -> None:
    """Whoever has one address there has 2^64: they are one."""
    failures = Failures()
    for number in range(MOST_FAILURES):
        failures.note(f"2001:db8::{number:x}")
    assert failures.pause_s("2001:db8::ffff") > 0.0
    assert failures.pause_s("2001:db8:0:1::1") == 0.0


def test_addresses_when_they_are_too_many() -> None:
    """The oldest is forgotten."""
    failures = Failures()
    for number in range(MOST_ADDRESSES + 1):
        for _ in range(MOST_FAILURES):
            failures.note(str(number))
    assert failures.pause_s("0") == 0.0
    assert failures.pause_s("1") > 0.0


def test_commands_when_more_come_than_are_obeyed() -> None:
    """As many as over MQTT, whoever gives them; then one a second."""
    clock = Clock()
    doors = Doors("0123456789abcdef", clock=clock)
    assert [doors.command_pause_s() for _ in range(COMMANDS_PER_MINUTE)] == [0.0] * COMMANDS_PER_MINUTE
    assert doors.command_pause_s() == 1.0
    clock.now_s += 1.0
    assert [doors.command_pause_s(), doors.command_pause_s()] == [0.0, 1.0]


def test_pause_of_an_address_is_told_in_the_log() -> None:
    """Somebody guesses, or an operator is locked out: both want to be found; single mistakes are nobody's business."""
    clock = Clock()
    failures = Failures(clock=clock)
    with capture_logs() as logs:
        for _ in range(MOST_FAILURES - 1):
            failures.note("192.0.2.7")
        assert logs == []
        clock.now_s += 20.0
        failures.note("192.0.2.7")
    told = {"event": "http_address_paused", "log_level": "warning", "host": "192.0.2.7", "retry_s": WINDOW_S - 20.0}
    assert logs == [told]
