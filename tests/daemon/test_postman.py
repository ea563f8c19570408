"""The link to the broker: replaced by a reload, with everything that is shown; begun again when it fails."""

import asyncio
from collections.abc import Collection
from pathlib import Path

from fakes.live import Changes, FakeAlerts, FakeLink, FakeShown
from fakes.outboxes import open_outbox
from structlog.testing import capture_logs

from gateway.daemon.postman import Postman
from gateway.delivery.outbox import Outbox
from gateway.errors import DeliveryError, StorageError
from gateway.settings import BrokerSettings


class Post:
    """A postman whose links are remembered with their settings."""

    def __init__(self, outbox: Outbox, group: asyncio.TaskGroup) -> None:
        self.links: list[tuple[BrokerSettings | None, FakeShown]] = []
        self.runs = 0
        self.changes = Changes()
        self.failures = 0
        self.loads = self.broken_loads = 0
        self._outbox = outbox
        self.postman = Postman(self._make, group, next_seq=outbox.next_seq)

    def _make(self, settings: BrokerSettings | None) -> FakeLink:
        shown = FakeShown()
        self.links.append((settings, shown))
        link = FakeLink(self._outbox, shown, FakeAlerts())
        run = link.run

        async def failing_load() -> None:
            self.loads += 1
            if self.loads <= self.broken_loads:
                raise StorageError("the disk cannot be read")
            shown.history.append(("loaded", None))

        def know(cameras: Collection[str]) -> None:
            shown.history.append((f"knows {sorted(cameras)}", None))

        async def failing_run() -> None:
            self.runs += 1
            self.changes.note()
            if self.runs <= self.failures:
                raise DeliveryError("the outbox cannot be read")
            await run()

        link.run = failing_run  # type: ignore[method-assign,assignment]
        link.load, link.know = failing_load, know  # type: ignore[method-assign]
        return link


async def test_new_link_shows_what_the_old_one_showed(tmp_path: Path) -> None:
    """Words that stand, not those that were taken back."""
    async with open_outbox(tmp_path) as outbox, asyncio.timeout(20), asyncio.TaskGroup() as group:
        post = Post(outbox, group)
        await post.postman.begin(None, ["gate"])
        post.postman.show("a", b"1")
        post.postman.show("b", b"1")
        post.postman.clear("b")
        settings = BrokerSettings(host="other.example")
        await post.postman.begin(settings, ["gate"])
        assert post.links[-1][0] == settings
        assert post.links[-1][1].topics == {"a": b"1"}
        await post.postman.end()


async def test_trouble_is_told_once(tmp_path: Path) -> None:
    """A part that is asked for its health again and again is told when that changes."""
    async with open_outbox(tmp_path) as outbox, asyncio.TaskGroup() as group:
        post = Post(outbox, group)
        for reason in (None, "cpu_fallback", "cpu_fallback", None, None):
            post.postman.tell(part="gpu", reason=reason)
        assert post.links[0][1].told == [("gpu", "cpu_fallback"), ("gpu", None)]


async def test_trouble_outlives_the_link_that_told_it(tmp_path: Path) -> None:
    """The next link tells it too, so that it can tell when it is over."""
    async with open_outbox(tmp_path) as outbox, asyncio.timeout(20), asyncio.TaskGroup() as group:
        post = Post(outbox, group)
        post.postman.tell(part="gpu", reason="cpu_fallback")
        await post.postman.begin(BrokerSettings(), [])
        post.postman.tell(part="gpu", reason=None)
        assert post.links[-1][1].told == [("gpu", "cpu_fallback"), ("gpu", None)]
        await post.postman.end()


async def test_delivery_is_begun_again(tmp_path: Path) -> None:
    """It faces the world: its failures are said and never end the daemon."""
    async with open_outbox(tmp_path) as outbox, asyncio.timeout(20), asyncio.TaskGroup() as group:
        post = Post(outbox, group)
        post.failures = 2
        with capture_logs() as logs:
            await post.postman.begin(None, [])
            await post.changes.until(lambda: post.runs == 3)
        assert post.runs == 3
        assert [log["event"] for log in logs] == ["no_broker", "delivery_failed", "delivery_failed"]
        await post.postman.end()


async def test_disk_that_cannot_be_read_delays_delivery(tmp_path: Path) -> None:
    """Whoever begins it goes on; when the disk is back, what earlier runs left is learnt, then which cameras are."""
    async with open_outbox(tmp_path) as outbox, asyncio.timeout(20), asyncio.TaskGroup() as group:
        post = Post(outbox, group)
        post.broken_loads = 2
        with capture_logs() as logs:
            await post.postman.begin(BrokerSettings(), ["gate"])
            post.postman.know(["gate", "lobby"])
            await post.changes.until(lambda: post.runs == 1)
        assert [log["event"] for log in logs] == ["delivery_failed", "delivery_failed"]
        said = [said for said, _ in post.links[-1][1].history]
        assert said[-2:] == ["loaded", "knows ['gate', 'lobby']"]
        await post.postman.end()
