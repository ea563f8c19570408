"""How files come from a repository: over verified TLS or from a folder, each with a bound and a deadline.

Synchronous, as python-tuf is: for a thread, never for the event loop.
"""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
from pydantic import SecretStr
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from gateway.contract.repository import MAX_TARGETS_BYTES, METADATA, most_bytes

CONNECT_S = 10.0
READ_S = 10.0
FILE_S = 120.0
NOT_FOUND = 404


def bound_of(url: str) -> int:
    """Return the most bytes that a file of the repository may have, whatever signed metadata say of it."""
    folder, _, name = urlsplit(url).path.rpartition("/")
    if folder.rpartition("/")[2] == METADATA:
        return MAX_TARGETS_BYTES
    return most_bytes(name.partition(".")[2])  # a target is named <digest>.<file>


class HttpsFetcher(FetcherInterface):
    """Fetches over HTTPS: no redirects, no compression, `file_s` seconds for a whole file."""

    def __init__(self, *, ca_file: Path | None, token: SecretStr | None, file_s: float = FILE_S) -> None:
        self._context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._headers = {"Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._file_s = file_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        deadline_s = time.monotonic() + self._file_s
        timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
        try:
            with (
                httpx2.Client(verify=self._context, timeout=timeout, headers=self._headers, trust_env=False) as client,
                client.stream("GET", url) as response,
            ):
                if response.status_code != httpx2.codes.OK or "content-encoding" in response.headers:
                    raise DownloadHTTPError(f"{url}: answered {response.status_code}", response.status_code)
                received = 0
                for chunk in response.iter_raw():  # as it comes: a size would wait for that much, whatever the pace
                    received += len(chunk)
                    if received > bound_of(url):
                        raise DownloadLengthMismatchError(f"{url}: is longer than {bound_of(url)} bytes")
                    if time.monotonic() > deadline_s:
                        raise SlowRetrievalError(f"{url}: took longer than {self._file_s:.0f} s")
                    yield chunk
        except httpx2.TimeoutException as error:
            raise SlowRetrievalError(f"{url}: no answer in time") from error
        except httpx2.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error


class FolderFetcher(FetcherInterface):
    """Fetches from a folder, for sites without a network: a copy of the repository on a medium."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(unquote(urlsplit(url).path))
        try:
            with path.open("rb") as handle:
                content = handle.read(bound_of(url) + 1)
        except FileNotFoundError:
            raise DownloadHTTPError(f"{path}: is not there", NOT_FOUND) from None
        except OSError as error:
            raise DownloadError(f"{path}: cannot be read: {error.strerror}") from None
        if len(content) > bound_of(url):
            raise DownloadLengthMismatchError(f"{path}: is longer than {bound_of(url)} bytes")
        yield content
