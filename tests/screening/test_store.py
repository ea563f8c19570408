"""The rolling store of track statistics: order, bound, removal, and that nothing is kept for ever."""

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.screening.store import CalibrationStore


def filled(*statistics: float, max_tracks: int = 100) -> CalibrationStore:
    """Return a store of camera `lobby` in environment `indoor`; each track was announced as `a<number>`."""
    store = CalibrationStore(max_tracks=max_tracks)
    for number, statistic in enumerate(statistics):
        store.add(statistic, camera="lobby", environment="indoor", alert_id=f"a{number}")
    return store


def test_store_when_nothing_was_added() -> None:
    """An unknown camera has no tracks, and asking does not create it."""
    store = CalibrationStore()
    assert (store.camera("lobby"), store.environment("indoor")) == ((), ())
    assert not store.remove("a0")


def test_store_when_tracks_enter_out_of_order() -> None:
    """The view is ascending, ties included."""
    assert filled(3.0, -1.0, 3.0, 2.0).camera("lobby") == (-1.0, 2.0, 3.0, 3.0)


def test_store_when_it_is_full() -> None:
    """The oldest leaves first, whatever its score."""
    assert filled(9.0, 1.0, 2.0, 3.0, max_tracks=3).camera("lobby") == (1.0, 2.0, 3.0)


def test_environment_when_cameras_share_it() -> None:
    """Its view holds the tracks of all its cameras and rolls by itself."""
    store = CalibrationStore(max_tracks=3)
    for statistic, camera in ((5.0, "lobby"), (1.0, "gate"), (4.0, "lobby"), (2.0, "gate")):
        store.add(statistic, camera=camera, environment="indoor")
    store.add(7.0, camera="yard", environment="outdoor")
    assert (store.camera("lobby"), store.camera("gate"), store.camera("yard")) == ((4.0, 5.0), (1.0, 2.0), (7.0,))
    assert (store.environment("indoor"), store.environment("outdoor")) == ((1.0, 2.0, 4.0), (7.0,))


def test_remove_when_an_operator_confirms() -> None:
    """The track leaves its camera and its environment, once."""
    store = filled(3.0, 9.0, 3.0)
    assert store.remove("a1")
    assert store.camera("lobby") == store.environment("indoor") == (3.0, 3.0)
    assert not store.remove("a1")


def test_remove_when_the_track_has_left() -> None:
    """What rolled out is gone already, and nothing else is taken in its place."""
    store = filled(9.0, 1.0, 9.0, max_tracks=2)
    assert not store.remove("a0")
    assert store.camera("lobby") == (1.0, 9.0)


def test_remove_when_an_alert_id_came_twice() -> None:
    """The newer track is meant; the older one's leaving does not forget it."""
    store = CalibrationStore(max_tracks=2)
    for statistic in (1.0, 2.0, 3.0):
        store.add(statistic, camera="lobby", environment="indoor", alert_id="same")
    assert store.remove("same")
    assert store.camera("lobby") == (2.0,)


def test_view_when_nothing_changes() -> None:
    """Tracks that open together share one object instead of fifty thousand numbers each."""
    store = filled(1.0, 2.0)
    before = store.camera("lobby")
    assert store.camera("lobby") is before
    store.add(3.0, camera="lobby", environment="indoor")
    assert (before, store.camera("lobby")) == ((1.0, 2.0), (1.0, 2.0, 3.0))


def test_store_when_tracks_pass_for_ever() -> None:
    """Neither the tracks nor the names of their alerts grow beyond the bound."""
    store = filled(*(float(number % 7) for number in range(1_000)), max_tracks=20)
    rolling = store._cameras["lobby"]
    assert len(rolling._arrived) == len(rolling._ordered) == len(rolling._alerts) == len(rolling._alerts_arrived) == 20


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_store_when_a_statistic_is_not_finite(broken: float) -> None:
    """One NaN would spoil the order of all; it is refused and nothing has changed."""
    store = filled(1.0)
    with pytest.raises(ValueError, match="finite"):
        store.add(broken, camera="lobby", environment="indoor")
    assert store.camera("lobby") == (1.0,)


def test_store_when_it_may_hold_nothing() -> None:
    """A store without room is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        CalibrationStore(max_tracks=0)


@given(st.integers(0, 60), st.integers(0, 10))
def test_foreign_tracks_when_they_stay(clean: int, foreign: int) -> None:
    """However high k foreign tracks score, they lift a p-value by at most k / (n + 1)."""
    statistics = [float(number) for number in range(clean)]
    store = filled(*statistics, *[1e9] * foreign, max_tracks=1_000)
    n = clean + foreign
    for statistic in (-1.0, clean / 2, 1e6):
        at_least = n - bisect_left(store.camera("lobby"), statistic)
        honest = clean - bisect_left(statistics, statistic)
        assert (1 + at_least) / (n + 1) <= (1 + honest) / (n + 1) + foreign / (n + 1) + 1e-12


class StoreMachine(RuleBasedStateMachine):
    """The store beside a plain list, under any order of entries and removals."""

    def __init__(self) -> None:
        super().__init__()
        self.store = CalibrationStore(max_tracks=5)
        self.plain: list[tuple[str, float | None]] = []
        self.count = 0

    @rule(quarter=st.integers(-4, 4), announced=st.booleans())
    def add(self, quarter: int, announced: bool) -> None:
        """Let a track finish."""
        name = f"a{self.count}" if announced else ""
        self.count += 1
        self.store.add(quarter / 4, camera="lobby", environment="indoor", alert_id=name or None)
        self.plain = [*self.plain, (name, quarter / 4)][-5:]

    @rule(number=st.integers(0, 30))
    def remove(self, number: int) -> None:
        """Confirm some alert, known or not."""
        known = [place for place, (name, value) in enumerate(self.plain) if name == f"a{number}" and value is not None]
        assert self.store.remove(f"a{number}") == bool(known)
        for place in known:
            self.plain[place] = (self.plain[place][0], None)

    @invariant()
    def views_agree(self) -> None:
        """Both views hold what the list holds."""
        expected = tuple(sorted(value for _, value in self.plain if value is not None))
        assert self.store.camera("lobby") == self.store.environment("indoor") == expected


TestStoreAgainstAList = StoreMachine.TestCase
