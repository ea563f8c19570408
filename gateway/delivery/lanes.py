"""Which message of the outbox goes out next: the oldest, and beside a long backlog what is new.

With few messages waiting they go out in the order of their acceptance. Where more than `LONG` wait, a second lane
begins at the newest of them, so that an alert of now does not wait behind an hour of old ones; `seq` tells subscribers
what is yet to come. What belongs to an alert whose `new` still waits stays behind it: the order within an `alert_id`
holds always (decision 0009).
"""

import json
from collections import deque
from typing import Protocol

from gateway.storage.rows import OutboxRow

LONG = 64
_BACKLOG_PAGE = 128
_FRESH_PAGE = 32


class Waiting(Protocol):
    """What the lanes need of `outbox.Outbox`."""

    @property
    def last_row(self) -> int:
        """The place of the newest message."""

    async def pending(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
        """Return messages that wait, in order."""


class Lanes:
    """Hands out each waiting message once; `taken` are those handed out and not yet settled."""

    def __init__(self, outbox: Waiting) -> None:
        self._outbox = outbox
        self.taken: set[int] = set()
        self._backlog = _Lane(_BACKLOG_PAGE)
        self._fresh: _Lane | None = None
        self._opened: set[str] = set()  # alerts whose `new` went out through the fresh lane

    def look_again(self) -> None:
        """There may be messages that were not there before."""
        self._backlog.dry = False
        if self._fresh is not None:
            self._fresh.dry = False

    def rewind(self) -> None:
        """Begin at the oldest message again; what is taken stays taken."""
        self._backlog = _Lane(_BACKLOG_PAGE)
        self._leave_fresh()

    def settled(self, rows: list[OutboxRow]) -> None:
        """Forget messages that no longer wait."""
        for row in rows:
            self.taken.discard(row.row)
            self._backlog.page.pop(row.row, None)

    async def take(self, waiting: int) -> OutboxRow | None:
        """Return the message to send next, or None where none is left; `waiting` is how many are not yet settled."""
        self._choose_lanes(waiting - len(self.taken))
        row = None if self._fresh is None else await self._next(self._fresh, overtaking=True)
        row = row or await self._next(self._backlog, overtaking=False)
        if row is not None:
            self.taken.add(row.row)
        return row

    def _choose_lanes(self, untaken: int) -> None:
        if untaken <= LONG:
            self._leave_fresh()
        elif self._fresh is None or self._outbox.last_row - self._fresh.after_row > LONG:
            # A fresh lane that grows long itself becomes backlog.
            self._leave_fresh()
            self._fresh = _Lane(_FRESH_PAGE, after_row=self._outbox.last_row)

    def _leave_fresh(self) -> None:
        self._fresh = None
        self._opened.clear()

    async def _next(self, lane: "_Lane", *, overtaking: bool) -> OutboxRow | None:
        while True:
            while lane.page:
                row = lane.page.pop(next(iter(lane.page)))
                if row.row not in self.taken and (not overtaking or self._may_overtake(row)):
                    return row
            if lane.dry:
                return None
            lane.dry = True  # unless `look_again` is told of more while this reads
            page = await self._outbox.pending(lane.size, lane.after_row)
            lane.page = {row.row: row for row in page}
            if page:
                lane.after_row, lane.dry = page[-1].row, False
            elif not overtaking:
                lane.after_row = 0  # next time from the start: what was held may have been released

    def _may_overtake(self, row: OutboxRow) -> bool:
        if row.kind != "alert" or row.alert_id is None:
            return row.kind == "notice"
        kind = _type_of(row)
        if kind == "new":
            self._opened.add(row.alert_id)
        elif row.alert_id not in self._opened:
            return False
        if kind == "end":
            self._opened.discard(row.alert_id)
        return True


class _Lane:
    """A place in the outbox, and the messages read from there that were not handed out yet."""

    def __init__(self, size: int, *, after_row: int = 0) -> None:
        self.size = size
        self.after_row = after_row
        self.page: dict[int, OutboxRow] = {}
        self.dry = False


def _type_of(row: OutboxRow) -> str:
    try:
        kind = json.loads(row.payload)["data"]["type"]
    except (ValueError, LookupError, TypeError):
        return ""
    return kind if isinstance(kind, str) else ""


class Flight:
    """What is on its way: sent and not yet confirmed, or confirmed behind something that is not.

    Of one alert, a message is settled only when all before it are: a broker that lost the `new` and confirmed the
    `end` is sent both again.
    """

    def __init__(self) -> None:
        self._rows: dict[int, OutboxRow] = {}
        self._confirmed: set[int] = set()
        self._again: set[int] = set()
        self._sent_s: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        """How many are not confirmed."""
        return len(self._rows) - len(self._confirmed)

    def add(self, row: OutboxRow, *, now_s: float) -> None:
        """Note that a message was sent."""
        self._rows[row.row] = row
        self._sent_s.append((row.row, now_s))

    def oldest_s(self) -> float | None:
        """Return when the oldest unconfirmed message was sent."""
        while self._sent_s and (self._sent_s[0][0] not in self._rows or self._sent_s[0][0] in self._confirmed):
            self._sent_s.popleft()
        return self._sent_s[0][1] if self._sent_s else None

    def confirm(self, row: OutboxRow) -> tuple[list[OutboxRow], list[OutboxRow]]:
        """Return what is settled by this confirmation, and what has to be sent again."""
        if row.row not in self._rows:
            return [], []
        self._confirmed.add(row.row)
        return self._release()

    def refuse(self, row: OutboxRow) -> list[OutboxRow]:
        """Return what has to be sent again because this one was refused; of its alert, all that follows."""
        if self._rows.pop(row.row, None) is None:
            return []
        self._again.discard(row.row)  # this is its again
        followers = {r.row for r in self._rows.values() if r.alert_id == row.alert_id and r.row > row.row}
        self._again |= followers if row.alert_id is not None else set()
        return [row, *self._release()[1]]

    def _release(self) -> tuple[list[OutboxRow], list[OutboxRow]]:
        blocked: set[str] = set()
        settled: list[OutboxRow] = []
        again: list[OutboxRow] = []
        for number, row in list(self._rows.items()):
            if number not in self._confirmed:
                if row.alert_id is not None:
                    blocked.add(row.alert_id)
            elif row.alert_id not in blocked:
                del self._rows[number]
                self._confirmed.discard(number)
                (again if number in self._again else settled).append(row)
                self._again.discard(number)
        return settled, again
