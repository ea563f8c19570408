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
RESTORING, RETURNING = Swap("restoring"), Swap("restoring", NEW)
STATES = (STEADY, PINNED, STAGING, SHADOW, ACTIVATING, PROBATION, RESTORING, RETURNING)

OFFERED, STAGED, MISSED = swap.Offered(NEW), swap.Staged(NEW), swap.Missed(NEW)
FAILED, PASSED, ACTIVATED = swap.Failed(NEW, "bad"), swap.Passed(NEW), swap.Activated(NEW)
FOLLOWED, RESTORED, ROLL_BACK = swap.Followed(NEW), swap.Restored(), swap.RollBack()
PIN = swap.Named(OLD, is_running=True, is_on_probation=False, is_pinned=True)
UNPIN = swap.Named(OLD, is_running=True, is_on_probation=False, is_pinned=False)
INSTALLED = swap.Named(NEW, is_running=False, is_on_probation=True, is_pinned=False)
WENT_BACK = swap.Named(NEW, is_running=False, is_on_probation=False, is_pinned=True)
EVENTS = (
    *(OFFERED, STAGED, MISSED, FAILED, PASSED, ACTIVATED, FOLLOWED, RESTORED),
    *(ROLL_BACK, PIN, UNPIN, INSTALLED, WENT_BACK),
)

UNDONE = Swap("restoring", None, is_pinned=True)
BACK = Swap("restoring", NEW, is_pinned=True)
UNDO, LET_GO, FOLLOW = swap.Restore(swap.OPERATOR, is_pinned=True), swap.Discard(NEW), swap.Follow(NEW)

# Every pair that does something; what is not here changes nothing.
TABLE: dict[tuple[Swap, swap.Event], swap.Step] = {
    (STEADY, OFFERED): (STAGING, (swap.Stage(NEW),)),
    (STEADY, ROLL_BACK): (UNDONE, (UNDO,)),
    (STEADY, PIN): (PINNED, ()),
    (STEADY, INSTALLED): (ACTIVATING, (FOLLOW,)),
    (STEADY, WENT_BACK): (BACK, (FOLLOW,)),
    (PINNED, ROLL_BACK): (UNDONE, (UNDO,)),
    (PINNED, UNPIN): (STEADY, ()),
    (PINNED, INSTALLED): (ACTIVATING, (FOLLOW,)),
    (PINNED, WENT_BACK): (BACK, (FOLLOW,)),
    (STAGING, STAGED): (SHADOW, (swap.Shadow(NEW),)),
    (STAGING, MISSED): (STEADY, (LET_GO,)),
    (STAGING, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (STAGING, ROLL_BACK): (UNDONE, (LET_GO, UNDO)),
    (STAGING, PIN): (PINNED, (LET_GO,)),
    (STAGING, INSTALLED): (ACTIVATING, (LET_GO, FOLLOW)),
    (STAGING, WENT_BACK): (BACK, (LET_GO, FOLLOW)),
    (SHADOW, PASSED): (ACTIVATING, (swap.Activate(NEW),)),
    (SHADOW, MISSED): (STEADY, (LET_GO,)),
    (SHADOW, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (SHADOW, ROLL_BACK): (UNDONE, (LET_GO, UNDO)),
    (SHADOW, PIN): (PINNED, (LET_GO,)),
    (SHADOW, INSTALLED): (ACTIVATING, (LET_GO, FOLLOW)),
    (SHADOW, WENT_BACK): (BACK, (LET_GO, FOLLOW)),
    (ACTIVATING, ACTIVATED): (PROBATION, (swap.Commit(NEW),)),
    (ACTIVATING, FOLLOWED): (PROBATION, ()),
    (ACTIVATING, MISSED): (STEADY, (LET_GO,)),
    (ACTIVATING, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
    (PROBATION, PASSED): (STEADY, (swap.Confirm(NEW),)),
    (PROBATION, FAILED): (RESTORING, (swap.Restore("bad"),)),
    (PROBATION, ROLL_BACK): (UNDONE, (UNDO,)),
    (PROBATION, PIN): (Swap("probation", NEW, is_pinned=True), ()),
    (PROBATION, INSTALLED): (ACTIVATING, (FOLLOW,)),
    (PROBATION, WENT_BACK): (BACK, (FOLLOW,)),
    (RESTORING, RESTORED): (STEADY, ()),
    (RETURNING, RESTORED): (STEADY, ()),
    (RETURNING, FOLLOWED): (STEADY, ()),
    (RETURNING, MISSED): (STEADY, (LET_GO,)),
    (RETURNING, FAILED): (STEADY, (swap.Deny(NEW, "bad"),)),
}


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)), ids=str)
def test_every_event_has_its_row_in_every_phase(state: Swap, event: swap.Event) -> None:
    """What follows stands in the table; for pairs that are not in it nothing changes and nothing is done."""
    assert advance(state, event) == TABLE.get((state, event), (state, ()))


def test_table_covers_every_phase_and_kind_of_event() -> None:
    """A new phase or event cannot be forgotten here."""
    assert {state.phase for state in STATES} == set(get_args(swap.Phase))
    assert {type(event) for event in EVENTS} == set(get_args(swap.Event))
    assert {type(command) for _, commands in TABLE.values() for command in commands} == set(get_args(swap.Command))


@pytest.mark.parametrize("state", [STAGING, SHADOW, ACTIVATING, PROBATION], ids=str)
@pytest.mark.parametrize(
    "event",
    [
        *(swap.Staged(OLD), swap.Missed(OLD), swap.Failed(OLD, "late"), swap.Passed(OLD), swap.Activated(OLD)),
        swap.Followed(OLD),
    ],
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
