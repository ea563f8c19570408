"""A process that does nothing but accept numbered messages and say which are on the disk; made to be killed.

It says `a <seq> <content>` when a message is accepted, in one write each, on the descriptor it is given.
"""

import asyncio
import os
from pathlib import Path

from fakes.outboxes import alert

from gateway.delivery.outbox import Outbox
from gateway.settings import OutboxSettings
from gateway.storage import failpoints
from gateway.storage.state import Storage

SETTINGS = OutboxSettings(reserve_bytes=0, max_bytes=65_536, retention_hours=0.0)


def run(folder: Path, said: int, first_content: int, fail_point: str | None) -> None:
    """Accept, deliver, prune and evict until something ends this process."""
    if fail_point is not None:
        failpoints.arm(fail_point)
    asyncio.run(_work(folder, said, first_content))


async def _work(folder: Path, said: int, content: int) -> None:
    async with Storage.open(folder, settings=SETTINGS) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SETTINGS)

        async def accept(number: int) -> None:
            seq = outbox.next_seq()
            await outbox.accept(alert(seq, payload=f"{number}:".encode() + os.urandom(number * 37 % 900)))
            os.write(said, f"a {seq} {number}\n".encode())

        while True:
            async with asyncio.TaskGroup() as tasks:
                for number in range(content, content + 1 + content % 7):
                    tasks.create_task(accept(number), name="accept")
            content += 1 + content % 7
            if content % 3 == 0:
                await outbox.delivered(await outbox.pending(5))
