"""The HTTP side of the daemon, put together: its window, its guard, its server."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from gateway.daemon.daemon import Daemon
from gateway.daemon.statistics import product_version
from gateway.daemon.window import DaemonWindow
from gateway.delivery.outbox import Outbox
from gateway.service.doors import Doors
from gateway.service.page.routes import page_addition
from gateway.service.server import HttpServer
from gateway.service.web import Addition, create_app
from gateway.service.window import Signalling
from gateway.settings import HttpSettings


class Web:
    """Serves what the daemon shows, for ever.

    Raises:
        ConfigError: The address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(
        self,
        daemon: Daemon,
        settings: HttpSettings,
        outbox: Outbox,
        *,
        signalling: Signalling | None = None,
        additions: Sequence[Addition] = (),
    ) -> None:
        self.window = DaemonWindow(daemon)
        self._outbox = outbox
        password = settings.password
        doors = Doors(settings.token.get_secret_value(), None if password is None else password.get_secret_value())
        self.app = create_app(
            self.window,
            doors,
            version=product_version(),
            signalling=signalling,
            additions=(page_addition(self.window, daemon.previews, daemon.faces.marks), *additions),
            secure_cookie=settings.is_encrypted,
        )
        self._server = HttpServer(self.app, settings, doors.doorway, on_end=self.window.hub.close)

    @property
    def url(self) -> str:
        """Where it is served."""
        return self._server.url

    def close(self) -> None:
        """Listen no more, also where it was never run."""
        self._server.close()

    async def run(self) -> NoReturn:
        """Serve until cancelled."""
        await self.window.load(self._outbox)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.window.run(), name="http-window")
            await self._server.run()
