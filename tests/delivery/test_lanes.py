"""Which message goes next: order within an alert always, and what is new does not wait behind a long backlog."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.lanes import LONG, Flight, Lanes
from gateway.storage.rows import Kind, OutboxRow


def row(number: int, alert_id: str | None = None, *, says: str = "new", kind: Kind = "alert") -> OutboxRow:
    """Return a stored message at this place in the order of acceptance."""
    payload = json.dumps({"data": {"type": says}}).encode()
    return OutboxRow(number, number, kind, 2, "spectragate/alerts", "", "lobby", alert_id or f"a{number}", 0.0, payload)


class Shelf:
    """The waiting messages of an outbox."""

    def __init__(self, rows: Sequence[OutboxRow] = ()) -> None:
        """Start with these."""
        self.rows = {each.row: each for each in rows}
        self.last_row = max(self.rows, default=0)

    def add(self, new: OutboxRow) -> None:
        """Accept one more."""
        self.rows[new.row] = new
        self.last_row = max(self.last_row, new.row)

    async def pending(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
        """Return what waits."""
        return [self.rows[number] for number in sorted(self.rows) if number > after_row][:limit]


async def take_all(lanes: Lanes, shelf: Shelf) -> list[int]:
    """Take until nothing is left, settling nothing."""
    taken = []
    while (found := await lanes.take(len(shelf.rows))) is not None:
        taken.append(found.row)
    return taken


async def test_lanes_when_few_messages_wait() -> None:
    """They go in the order of acceptance, each once."""
    shelf = Shelf([row(number) for number in range(1, LONG + 1)])
    lanes = Lanes(shelf)

    assert await take_all(lanes, shelf) == list(range(1, LONG + 1))
    assert await take_all(lanes, shelf) == []


async def test_lanes_when_something_new_comes_behind_a_long_backlog() -> None:
    """It goes next, and what went through one lane does not come again through the other."""
    shelf = Shelf([row(number) for number in range(1, 301)])
    lanes = Lanes(shelf)
    first = [(await lanes.take(300)).row for _ in range(3)]  # type: ignore[union-attr]
    shelf.add(row(301))
    lanes.look_again()

    rest = await take_all(lanes, shelf)

    assert first == [1, 2, 3]
    assert rest == [301, *range(4, 301)]


async def test_lanes_when_an_update_follows_a_new_that_still_waits() -> None:
    """It stays behind it; one whose `new` went through the fresh lane goes with it."""
    shelf = Shelf([row(number, f"old{number}") for number in range(1, 201)])
    lanes = Lanes(shelf)
    await lanes.take(200)
    shelf.add(row(201, "old150", says="update"))
    shelf.add(row(202, "fresh"))
    shelf.add(row(203, "fresh", says="end"))
    lanes.look_again()

    order = await take_all(lanes, shelf)

    assert order[:2] == [202, 203]
    assert order.index(201) > order.index(150)
    assert sorted(order) == list(range(2, 204))


async def test_lanes_when_a_held_message_is_released() -> None:
    """A message with a lower place than those sent is found."""
    shelf = Shelf([row(5), row(6)])
    lanes = Lanes(shelf)
    assert await take_all(lanes, shelf) == [5, 6]
    shelf.add(row(2))
    lanes.look_again()

    assert await take_all(lanes, shelf) == [2]


async def test_lanes_when_settled_messages_lie_in_a_page() -> None:
    """What the fresh lane has settled is not sent again by a page read before."""
    shelf = Shelf([row(number) for number in range(1, 101)])
    lanes = Lanes(shelf)
    await lanes.take(100)
    gone = [row(number) for number in range(90, 101)]
    for each in gone:
        del shelf.rows[each.row]
    lanes.settled(gone)

    assert await take_all(lanes, shelf) == list(range(2, 90))


@given(
    backlog=st.integers(0, 200),
    arrivals=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["update", "end"])), max_size=120),
    pace=st.integers(1, 7),
)
async def test_lanes_when_messages_come_while_others_go(
    backlog: int, arrivals: list[tuple[int, str]], pace: int
) -> None:
    """Every message is handed out exactly once, and of one alert in the order of acceptance."""
    shelf = Shelf([row(number, f"x{number % 6}") for number in range(1, backlog + 1)])
    known = {each.alert_id for each in shelf.rows.values()}
    lanes, order = Lanes(shelf), list[int]()
    for alert, says in arrivals:
        alert_id = f"x{alert}"
        shelf.add(row(shelf.last_row + 1, alert_id, says=says if alert_id in known else "new"))
        known.add(alert_id)
        lanes.look_again()
        found = [await lanes.take(len(shelf.rows)) for _ in range(pace - 1)]
        order += [each.row for each in found if each is not None]
    order += await take_all(lanes, shelf)

    assert sorted(order) == sorted(shelf.rows)
    for alert in range(6):
        own = [number for number in order if shelf.rows[number].alert_id == f"x{alert}"]
        assert own == sorted(own)


def test_flight_when_the_first_of_an_alert_is_not_confirmed() -> None:
    """What follows it is not settled before it; another alert does not wait."""
    flight = Flight()
    for each in (row(1, "a"), row(2, "b"), row(3, "a", says="end")):
        flight.add(each, now_s=float(each.row))

    assert flight.confirm(row(3, "a")) == ([], [])
    assert [each.row for each in flight.confirm(row(2, "b"))[0]] == [2]
    assert (len(flight), flight.oldest_s()) == (1, 1.0)
    assert [each.row for each in flight.confirm(row(1, "a"))[0]] == [1, 3]
    assert (len(flight), flight.oldest_s()) == (0, None)


def test_flight_when_one_is_refused() -> None:
    """It goes again, and with it whatever of its alert was sent behind it, even if confirmed."""
    flight = Flight()
    rows = {number: row(number, "a" if number != 2 else "b") for number in (1, 2, 3, 4)}
    for each in rows.values():
        flight.add(each, now_s=0.0)
    flight.confirm(rows[3])

    again = flight.refuse(rows[1])
    later = flight.confirm(rows[4])
    other = flight.confirm(rows[2])

    assert [each.row for each in again] == [1, 3]
    assert [[each.row for each in part] for part in later] == [[], [4]]
    assert [[each.row for each in part] for part in other] == [[2], []]


async def test_lanes_when_a_message_comes_while_the_outbox_is_read() -> None:
    """It is found at the next look: the answer that does not hold it yet says nothing about what came since."""

    class Slow(Shelf):
        """An outbox that accepts one more behind every read."""

        async def pending(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
            found = await super().pending(limit, after_row)
            if self.last_row < 3:
                self.add(row(self.last_row + 1))
                lanes.look_again()
            return found

    shelf = Slow([])
    lanes = Lanes(shelf)
    assert await take_all(lanes, shelf) == [1, 2, 3]


def test_flight_when_a_message_and_its_follower_are_refused() -> None:
    """Sent again and confirmed, both are settled: neither goes out a third time."""
    flight, new, end = Flight(), row(1, "a"), row(2, "a", says="end")
    for each in (new, end):
        flight.add(each, now_s=0.0)
    assert flight.refuse(new) == [new]
    assert flight.refuse(end) == [end]
    for each in (new, end):
        flight.add(each, now_s=1.0)
    assert [flight.confirm(each) for each in (new, end)] == [([new], []), ([end], [])]
