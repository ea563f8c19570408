"""Find the number behind a camera's name before its worker starts, so that the worker asks no name server.

What a name server answers is untrusted too; the system's resolver reads it, in a thread that may outlast the deadline
by half a minute. Nobody waits for that thread: neither the end of the process nor other work that needs a thread.
"""

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from gateway.cameras.jobs import CameraJob, RtspSource
from gateway.errors import SourceError, SourceReason


async def with_address(job: CameraJob) -> CameraJob:
    """Return the job of a network camera with the numeric address of its host; any other job as it is.

    Raises:
        SourceError: Its name is unknown, or nobody answers in time.
    """
    source = job.source
    if not isinstance(source, RtspSource) or source.address is not None:
        return job
    host = urlsplit(source.url).hostname or ""
    try:
        async with asyncio.timeout(job.connect_s):
            address = await number_of(host)
    except TimeoutError:
        text = f"{job.camera}: no name server told the address of {host} within {job.connect_s:g} s"
        raise SourceError(text, SourceReason.UNREACHABLE) from None
    except OSError as error:
        text = f"{job.camera}: the host name {host} is not known ({error.strerror}); correct the url or the name server"
        raise SourceError(text, SourceReason.UNREACHABLE) from None
    except UnicodeError:
        text = f"{job.camera}: no host can have the name {host}; correct the url"
        raise SourceError(text, SourceReason.UNREACHABLE) from None
    return replace(job, source=replace(source, address=address))


async def number_of(host: str) -> str:
    """Return the numeric address of a name; asked in a thread that nobody waits for, so set a deadline.

    Raises:
        OSError: The name is not known.
        UnicodeError: No host can have this name.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        found = await asyncio.wrap_future(_look_up(host))
    # Of a name with both kinds of address the older is taken: hardly a camera has only the other.
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


_asked: dict[str, Future[list[Any]]] = {}
"""The names that are being looked up: a camera that is tried again waits for the answer to its first question."""


def _look_up(host: str) -> Future[list[Any]]:
    """Return what the resolver will say, asked in a thread of its own: one for each name at most."""
    answer = _asked.get(host)
    if answer is None:
        answer = _asked[host] = Future()
        answer.set_running_or_notify_cancel()  # nobody who gives up takes it from the others
        threading.Thread(target=_ask, args=(host, answer), name="resolver", daemon=True).start()
    return answer


def _ask(host: str, answer: Future[list[Any]]) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        del _asked[host]
        answer.set_exception(error)
    else:
        del _asked[host]
        answer.set_result(found)
