"""The way to another bundle: a row for every phase and every event."""

from itertools import product
from typing import get_args

import pytest

from gateway.adaptation import swap
from gateway.adaptation.swap import Swap, advance

NEW, OLD = "a" * 64, "b" * 64

STEADY, PINNED = Swap(), Swap(is_pinned=True)
STAGING, SHADOW = Swap("staging", NEW), Swap("shadow", NEW)
ACTIVATING, PROBATION = Swap("activating", NEW), Swap("probation", NEW)
RESTORING = Swap("restoring", NEW)
STATES = (STEADY, PINNED, STAGING, SHADOW, ACTIVATING, PROBATION, RESTORING)

OFFERED, STAGED, MISSED = swap.Offered(NEW), swap.Staged(NEW), swap.Missed(NEW)
FAILED, PASSED, ACTIVATED = swap.Failed(NEW, "bad"), swap.Passed(NEW), swap.Activated(NEW)
RESTORED, ROLL_BACK, PIN, UNPIN = swap.Restored(), swap.RollBack(), swap.Pin(is_on=True), swap.Pin(is_on=False)
EVENTS = (OFFERED, STAGED, MISSED, FAILED, PASSED, ACTIVATED, RESTORED, ROLL_BACK, PIN, UNPIN)

UNDONE = Swap("restoring", None, is_pinned=True)
UNDO = swap.Restore(swap.OPERATOR, is_pinned=True)
LET_GO, KEEP, FREE = swap.Discard(NEW), swap.KeepPin(is_on=True), swap.KeepPin(is_on=False)

# Every pair that does something; what is not here changes nothing.
TABLE: dict[tuple[Swap, swap.Event], swap.Step] = {
    (STEADY, OFFERED): (STAGING, (swap.Stage(NEW),)),
    (STEADY, ROLL_BACK): (UNDONE, (UNDO,)),
    (STEADY, PIN): (PINNED, (KEEP,)),
    (STEADY, UNPIN): (STEADY, (FREE,)),
    (PINNED, ROLL_BACK): (UNDONE, (UNDO,)),
    (PINNED, PIN): (PINNED, (KEEP,)),
    (PINNED, UNPIN): (STEADY, (FREE,)),
    (STAGING, STAGED): (SHADOW, (swap.Shadow(NEW),)),
    (STAGING, MISSED): (STEADY, (LET_GO,)),
    (STAGING, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (STAGING, ROLL_BACK): (UNDONE, (LET_GO, UNDO)),
    (STAGING, PIN): (PINNED, (LET_GO, KEEP)),
    (STAGING, UNPIN): (STAGING, (FREE,)),
    (SHADOW, PASSED): (ACTIVATING, (swap.Activate(NEW),)),
    (SHADOW, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (SHADOW, ROLL_BACK): (UNDONE, (LET_GO, UNDO)),
    (SHADOW, PIN): (PINNED, (LET_GO, KEEP)),
    (SHADOW, UNPIN): (SHADOW, (FREE,)),
    (ACTIVATING, ACTIVATED): (PROBATION, (swap.Commit(NEW),)),
    (ACTIVATING, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (ACTIVATING, PIN): (Swap("activating", NEW, is_pinned=True), (KEEP,)),
    (ACTIVATING, UNPIN): (ACTIVATING, (FREE,)),
    (PROBATION, PASSED): (STEADY, (swap.Confirm(NEW),)),
    (PROBATION, FAILED): (RESTORING, (swap.Restore("bad"),)),
    (PROBATION, ROLL_BACK): (UNDONE, (UNDO,)),
    (PROBATION, PIN): (Swap("probation", NEW, is_pinned=True), (KEEP,)),
    (PROBATION, UNPIN): (PROBATION, (FREE,)),
    (RESTORING, RESTORED): (STEADY, ()),
    (RESTORING, PIN): (Swap("restoring", NEW, is_pinned=True), (KEEP,)),
    (RESTORING, UNPIN): (RESTORING, (FREE,)),
}


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)), ids=str)
def test_every_event_has_its_row_in_every_phase(state: Swap, event: swap.Event) -> None:
    """What follows stands in the table; for pairs that are not in it nothing changes and nothing is done."""
    assert advance(state, event) == TABLE.get((state, event), (state, ()))


def test_table_covers_every_phase_and_kind_of_event() -> None:
    """A new phase or event cannot be forgotten here."""
    assert {state.phase for state in STATES} == set(get_args(swap.Phase))
    assert {type(event) for event in EVENTS} == set(get_args(swap.Event))


@pytest.mark.parametrize("state", [STAGING, SHADOW, ACTIVATING, PROBATION], ids=str)
@pytest.mark.parametrize(
    "event",
    [swap.Staged(OLD), swap.Missed(OLD), swap.Failed(OLD, "late"), swap.Passed(OLD), swap.Activated(OLD)],
    ids=str,
)
def test_event_of_another_bundle_changes_nothing(state: Swap, event: swap.Event) -> None:
    """What comes too late, of a bundle that was let go, is not taken for one of the bundle under way."""
    assert advance(state, event) == (state, ())


def test_denied_bundle_never_reaches_the_cameras() -> None:
    """From offer to denial no command lets it judge."""
    commands: list[swap.Command] = []
    state = STEADY
    for event in (OFFERED, STAGED, FAILED, PASSED, ACTIVATED):
        state, done = advance(state, event)
        commands += done
    assert not any(isinstance(command, swap.Activate) for command in commands)
    assert state == STEADY
