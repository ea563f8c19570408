"""A link that runs for the length of a block, and waiting for what a broker has seen."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.delivery.link import Link, Serve, Session
from gateway.settings import BrokerSettings


def settings(port: int, **changes: Any) -> BrokerSettings:
    """Return settings for a broker on this machine."""
    return BrokerSettings(**{"host": "127.0.0.1", "port": port, "client_id": "box", "protocol": "5", **changes})


async def settled(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (the condition is another program's, it has no event)
            await asyncio.sleep(0.005)


async def idle(_session: Session) -> None:
    """Use a session for nothing until it ends."""
    await asyncio.Event().wait()


@asynccontextmanager
async def running(link: Link, serve: Serve = idle) -> AsyncIterator[Link]:
    """Run a link, and cancel it at the end of the block as a daemon does."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(link.run(serve), name="link")
        try:
            yield link
        finally:
            task.cancel()
