"""Checks side by side: in order, none waited for without end, and what a thread raises is not lost."""

import threading

import pytest

from gateway.doctor.findings import Check, Finding, examine, failed, fine, in_thread, warning


async def test_findings_come_in_the_order_of_the_checks() -> None:
    """However long each takes: two outputs can be compared line by line."""
    second_is_done = threading.Event()

    def first() -> Finding:
        assert second_is_done.wait(20)
        return fine("first", "a")

    def second() -> Finding:
        second_is_done.set()
        return warning("second", "b", "c")

    checks: list[tuple[str, Check]] = [("first", lambda: in_thread(first)), ("second", lambda: in_thread(second))]
    assert await examine(checks, deadline_s=20) == [
        Finding("first", "ok", "a", ""),
        Finding("second", "warning", "b", "c"),
    ]


async def test_check_that_hangs_is_a_finding() -> None:
    """A driver, a disk or a network that hangs costs the deadline, and the others are told."""
    release = threading.Event()

    def hanging() -> Finding:
        release.wait(60)
        return fine("hangs", "")

    checks: list[tuple[str, Check]] = [
        ("hangs", lambda: in_thread(hanging)),
        ("works", lambda: in_thread(lambda: failed("works", "x", "y"))),
    ]
    hangs, works = await examine(checks, deadline_s=5.0)
    release.set()
    assert (hangs.check, hangs.level, hangs.found) == ("hangs", "failed", "no answer within 5 s")
    assert works == Finding("works", "failed", "x", "y")


async def test_error_of_a_check_is_not_lost() -> None:
    """A defect of ours is none of the operator's machine."""

    def broken() -> Finding:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_thread(broken)
