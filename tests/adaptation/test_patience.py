"""When a bundle that came too late is tried again."""

from gateway.adaptation.patience import FIRST_PAUSE_S, LAST_PAUSE_S, MOST_TRIES, Patience

NEW, OTHER = "a" * 64, "b" * 64


def test_pauses_grow_up_to_a_bound_and_end() -> None:
    """Within the hours of a working day, and then not before the next start."""
    patience = Patience()
    pauses = [patience.note(NEW, 0.0) for _ in range(MOST_TRIES)]
    known = [pause for pause in pauses if pause is not None]
    assert known == sorted(known)
    assert (known[0], known[-1], pauses[-1]) == (FIRST_PAUSE_S, min(LAST_PAUSE_S, 256 * FIRST_PAUSE_S), None)
    assert not patience.allows(NEW, 1e12)


def test_waits_for_this_bundle_alone() -> None:
    """Another one may be tried at once, and begins to count anew."""
    patience = Patience()
    assert patience.allows(NEW, 0.0)
    patience.note(NEW, 100.0)
    assert [patience.allows(NEW, now_s) for now_s in (100.0, 159.0, 160.0)] == [False, False, True]
    assert patience.allows(OTHER, 100.0)
    assert patience.note(OTHER, 100.0) == FIRST_PAUSE_S
    patience.forget()
    assert patience.allows(OTHER, 0.0)
