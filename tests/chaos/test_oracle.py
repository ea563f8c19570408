"""The judge of the runs of kills sees what it must see: a judge that never finds anything proves nothing."""

from dataclasses import replace

import pytest
from chaos.oracle import Accepted, Delivered, Ledger, judge

from gateway.watch.steps import GapFilled, GapLost, GapNoticed


def accepted(seq: int, digest: str = "same") -> Accepted:
    """Return an alert as the outbox reported it, a second a number."""
    return Accepted(seq, digest, "lobby", f"track-{seq % 2}", float(seq))


def delivered(seq: int, **changes: object) -> Delivered:
    """Return it as the subscriber got it."""
    one = Delivered(seq, "same", "lobby", f"track-{seq % 2}", "new", late=False, replayed=False, at_s=seq + 0.5)
    return replace(one, **changes)  # type: ignore[arg-type]


def ledger(*seqs: Delivered) -> Ledger:
    """Return a ledger in which 1 to 4 were accepted and these delivered."""
    return Ledger(accepted={seq: accepted(seq) for seq in range(1, 5)}, delivered=list(seqs))


WELL = [delivered(seq) for seq in range(1, 5)]


def test_judge_when_all_is_well() -> None:
    """Nothing missing, nothing twice, in order."""
    verdict = judge(ledger(*WELL))
    assert (verdict.accepted, verdict.delivered) == (4, 4)
    assert (verdict.missing, verdict.twice, verdict.altered) == ((), (), ())
    assert (verdict.inversions_per_alert, verdict.inversions_per_camera) == (0, 0)


@pytest.mark.parametrize(
    ("deliveries", "field", "found"),
    [
        (WELL[:3], "missing", (4,)),
        ([*WELL, delivered(2)], "twice", (2,)),
        ([*WELL[:3], delivered(4, digest="other")], "altered", (4,)),
        ([WELL[1], WELL[0], WELL[2], WELL[3]], "inversions_per_camera", 1),
        ([WELL[2], WELL[1], WELL[0], WELL[3]], "inversions_per_alert", 1),
        ([WELL[1], delivered(1, replayed=True, late=True), WELL[2], WELL[3]], "inversions_per_camera", 0),
        ([*WELL, delivered(99)], "missing", ()),
    ],
)
def test_judge_finds_what_went_wrong(deliveries: list[Delivered], field: str, found: object) -> None:
    """Lost, twice, altered, out of order; a replay may come late, and what was never reported as accepted may come."""
    assert getattr(judge(ledger(*deliveries)), field) == found


def test_judge_tells_a_told_loss_from_a_silent_one() -> None:
    """What the box says it has no longer is missing, but not unexplained; what nobody answered for is both."""
    book = ledger(*WELL[:2])
    book.lost.append(GapLost("spectragate/chaos", 3, 3, "gone"))
    book.lost.append(GapLost("spectragate/chaos", 4, 4, "unanswered"))
    verdict = judge(book)
    assert (verdict.missing, verdict.unexplained) == ((3, 4), (4,))


def test_judge_measures_gaps_and_repetitions() -> None:
    """How long after its acceptance a gap was noticed, how long it took to fill, and what came again on the wire."""
    book = ledger(*WELL)
    book.noticed.append((GapNoticed("spectragate/chaos", 2, 3), 4.5))
    book.filled.append(GapFilled("spectragate/chaos", 2, 3, 0.75))
    book.on_the_wire.update({1: 3, 2: 1, 4: 2})
    verdict = judge(book)
    assert (verdict.slowest_found_s, verdict.slowest_fill_s, verdict.wire_duplicates) == (1.5, 0.75, 3)


def test_reports_are_read_line_by_line() -> None:
    """A number accepted a second time is a defect of the outbox."""
    book = Ledger()
    for line in (b"1 abc lobby t1", b"2 def gate t2", b"1 abd lobby t3"):
        book.accept(line)
    assert (set(book.accepted), book.accepted_twice) == ({1, 2}, [1])
