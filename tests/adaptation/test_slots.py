"""The slots of an environment: every step as a table, nothing on disk."""

import pytest

from gateway.adaptation.slots import MOST_DENIED, MOST_STARTS, Slots
from gateway.contract.bundle import BundleError

A, B, C = "a" * 64, "b" * 64, "c" * 64
RUNNING = Slots(active=B, previous=A, floor_version=2, probation=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Slots().activated(A, 1), Slots(active=A, floor_version=1, probation=True)),
        (Slots().activated(A, 1).confirmed(), Slots(active=A, floor_version=1)),
        (Slots().activated(A, 1).confirmed().activated(B, 2), RUNNING),
        (RUNNING.activated(B, 2), RUNNING),
        (RUNNING.activated(C, 1), Slots(active=C, previous=B, floor_version=2, probation=True)),
        (RUNNING.restored("blind"), Slots(active=A, floor_version=2, denied={B: "blind"})),
        (RUNNING.restored("x").restored("y"), Slots(floor_version=2, denied={B: "x", A: "y"})),
        (RUNNING.rolled_back("by hand"), Slots(active=A, floor_version=2, denied={B: "by hand"}, pinned=A)),
        (Slots(active=A).rolled_back("by hand"), Slots(denied={A: "by hand"}, pinned="factory")),
        (Slots().restored("nothing"), Slots()),
        (RUNNING.with_denied(B, "blind"), RUNNING.restored("blind")),
        (RUNNING.with_pin(B).with_denied(B, "x"), Slots(active=A, floor_version=2, denied={B: "x"}, pinned=A)),
        (RUNNING.with_denied(A, "late"), Slots(active=B, floor_version=2, denied={A: "late"}, probation=True)),
        (RUNNING.with_pin(B).with_pin(None), RUNNING),
        (RUNNING.with_start(1.0).healthy(), RUNNING),
    ],
)
def test_step_leads_to_the_state_in_the_table(before: Slots, after: Slots) -> None:
    """What is active, what it returns to and what is denied follow from the steps alone."""
    assert before == after


def test_denied_bundle_is_never_activated() -> None:
    """A bundle that was undone does not come back by being offered again."""
    with pytest.raises(BundleError, match="blind"):
        RUNNING.restored("blind").activated(B, 3)


def test_nothing_installed_leaves_nothing_to_go_back_to() -> None:
    """The factory's bundle is never undone, and a rollback says so."""
    with pytest.raises(BundleError, match="nothing to go back to"):
        Slots().rolled_back("by hand")


@pytest.mark.parametrize(
    ("sha256", "version", "slots", "is_wanted"),
    [
        (C, 3, RUNNING, True),
        (C, 2, RUNNING, False),
        (B, 2, RUNNING, True),
        (C, 3, RUNNING.with_denied(C, "bad"), False),
        (C, 3, RUNNING.with_pin(A), False),
        (C, 3, RUNNING.with_pin(C), True),
    ],
)
def test_bundle_is_wanted_when_it_is_new_and_nobody_keeps_it_out(
    sha256: str, version: int, slots: Slots, is_wanted: bool
) -> None:
    """What the channel offers is asked for this again when it is about to judge."""
    assert slots.wants(sha256, version) is is_wanted


def test_starts_are_counted_in_their_window() -> None:
    """Three starts within a minute are a ladder's step; older ones are history, and the list does not grow."""
    slots = Slots()
    for now_s in (0.0, 50.0, 70.0, 80.0):
        slots = slots.with_start(now_s)
    assert slots.starts_within(100.0, 60.0) == 3
    for now_s in range(100):
        slots = slots.with_start(float(now_s))
    assert len(slots.starts_s) == MOST_STARTS


def test_denials_are_bounded() -> None:
    """A repository that offers bad bundles for ever fills no disk."""
    slots = Slots()
    for number in range(MOST_DENIED + 5):
        slots = slots.with_denied(f"{number:064x}", "w" * 500)
    assert len(slots.denied) == MOST_DENIED
    assert max(map(len, slots.denied.values())) == 200
