"""Small things that must survive a restart: calibration, camera switches, retained topics, markers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.storage.database import Connection
from gateway.storage.state import Storage

MAX_TRACKS = 50_000
"""Track statistics kept of each camera."""

_TRIM_EVERY = 100  # tracks of one camera between two looks whether there are too many


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """The statistic of one finished track; `alert_id` where it was announced."""

    camera: str
    environment: str
    statistic: float
    alert_id: str | None


def kept_as(environment: str, sha256: str) -> str:
    """Return the name under which tracks of an environment are kept for these weights."""
    return f"{environment}@{sha256[:16]}"


class CalibrationTable:
    """Track statistics of every camera, the newest `max_tracks` of each."""

    def __init__(
        self, storage: Storage, *, max_tracks: int = MAX_TRACKS, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._max_tracks = max_tracks
        self._clock = clock
        self._since_trim: dict[str, int] = {}

    async def add(self, statistic: float, *, camera: str, environment: str, alert_id: str | None = None) -> None:
        """Keep a finished track's statistic.

        Raises:
            StorageError: The disk takes nothing.
        """
        added = self._since_trim.get(camera, _TRIM_EVERY) + 1  # the first after a start looks
        trims = added >= _TRIM_EVERY
        self._since_trim[camera] = 0 if trims else added
        now_s = self._clock()

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO calibration (camera, environment, statistic, alert_id, time_s) VALUES (?, ?, ?, ?, ?)",
                (camera, environment, float(statistic), alert_id, now_s),
            )
            if trims:
                connection.execute(
                    "DELETE FROM calibration WHERE camera = ? AND number <= (SELECT number FROM calibration "
                    "WHERE camera = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (camera, camera, self._max_tracks),
                )

        await self._storage.run(work)

    async def remove(self, alert_id: str) -> None:
        """Take out the track of an alert that an operator confirmed.

        Raises:
            StorageError: The disk takes nothing.
        """
        await self._storage.run(
            lambda connection: connection.execute("DELETE FROM calibration WHERE alert_id = ?", (alert_id,)).fetchall()
        )

    async def load(self) -> list[StoredTrack]:
        """Return the newest `max_tracks` of every camera, all cameras together in the order they came.

        Raises:
            StorageError: The file cannot be read.
        """
        rows = await self._storage.read(
            lambda connection: connection.execute(
                "SELECT camera, environment, statistic, alert_id FROM (SELECT *, row_number() OVER "
                "(PARTITION BY camera ORDER BY number DESC) AS age FROM calibration) WHERE age <= ? ORDER BY number",
                (self._max_tracks,),
            ).fetchall()
        )
        return [StoredTrack(*row) for row in rows]


class SwitchTable:
    """Which cameras were switched on or off while the gateway ran."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._clock = clock

    async def set(self, camera: str, *, enabled: bool) -> None:
        """Keep a switch's position.

        Raises:
            StorageError: The disk takes nothing.
        """
        values = (camera, int(enabled), self._clock())
        await self._storage.run(
            lambda connection: connection.execute("INSERT OR REPLACE INTO switches VALUES (?, ?, ?)", values).fetchall()
        )

    async def clear(self, camera: str) -> None:
        """Let the configuration decide again.

        Raises:
            StorageError: The disk takes nothing.
        """
        await self._storage.run(
            lambda connection: connection.execute("DELETE FROM switches WHERE camera = ?", (camera,)).fetchall()
        )

    async def all(self) -> dict[str, bool]:
        """Return the cameras that were switched.

        Raises:
            StorageError: The file cannot be read.
        """
        rows = await self._storage.read(
            lambda connection: connection.execute("SELECT camera, enabled FROM switches ORDER BY camera").fetchall()
        )
        return {camera: bool(enabled) for camera, enabled in rows}


class RetainedTable:
    """What was last published on retained topics, by kind: so that what has gone can be taken back."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._clock = clock

    async def set(self, topic: str, payload: bytes | None, *, kind: str, camera: str | None = None) -> None:
        """Keep what a topic holds; None forgets it.

        Raises:
            StorageError: The disk takes nothing.
        """
        values = (topic, kind, payload, camera, self._clock())

        def work(connection: Connection) -> None:
            if payload is None:
                connection.execute("DELETE FROM retained WHERE topic = ?", (topic,))
            else:
                connection.execute("INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?, ?)", values)

        await self._storage.run(work)

    async def all(self, kind: str) -> dict[str, bytes]:
        """Return the topics of a kind with what they hold.

        Raises:
            StorageError: The file cannot be read.
        """
        rows = await self._storage.read(
            lambda connection: connection.execute(
                "SELECT topic, payload FROM retained WHERE kind = ? ORDER BY topic", (kind,)
            ).fetchall()
        )
        return dict(rows)


class MarkerTable:
    """Facts about earlier runs, by name."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._clock = clock

    async def set(self, name: str, value: str | None) -> None:
        """Keep a fact; None forgets it.

        Raises:
            StorageError: The disk takes nothing.
        """
        values = (name, value, self._clock())

        def work(connection: Connection) -> None:
            if value is None:
                connection.execute("DELETE FROM markers WHERE name = ?", (name,))
            else:
                connection.execute("INSERT OR REPLACE INTO markers VALUES (?, ?, ?)", values)

        await self._storage.run(work)

    async def all(self) -> dict[str, str]:
        """Return every fact.

        Raises:
            StorageError: The file cannot be read.
        """
        rows = await self._storage.read(
            lambda connection: connection.execute("SELECT name, value FROM markers ORDER BY name").fetchall()
        )
        return dict(rows)
