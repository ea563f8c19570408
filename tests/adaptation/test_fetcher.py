"""Fetching: verified TLS, a token, a bound and a deadline; whoever answers decides none of them."""

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fakes.https import endless, reply, serving
from pydantic import SecretStr
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from gateway.adaptation.fetcher import FolderFetcher, HttpsFetcher, bound_of


def test_token_and_content_travel(tmp_path: Path) -> None:
    """The token goes in its header and nowhere else; the content comes unchanged."""
    seen: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        reply(handler, 200, b"content")

    with serving(tmp_path, answer) as (url, ca):
        fetcher = HttpsFetcher(ca_file=ca, token=SecretStr("a token"))
        assert fetcher.download_bytes(f"{url}/metadata/timestamp.json", 100) == b"content"
    assert seen == ["Bearer a token"]


def test_server_with_a_foreign_certificate_is_not_asked(tmp_path: Path) -> None:
    """Without the site's authority there is no connection, and no token leaves."""
    seen: list[str] = []
    with serving(tmp_path, lambda handler: seen.append(handler.path)) as (url, _):
        fetcher = HttpsFetcher(ca_file=None, token=SecretStr("a token"))
        with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
            fetcher.download_bytes(f"{url}/metadata/timestamp.json", 100)
    assert seen == []


@pytest.mark.parametrize("status", [301, 401, 403, 404, 500])
def test_every_other_answer_is_an_error_with_its_number(tmp_path: Path, status: int) -> None:
    """Redirects are not followed: they would carry the token elsewhere."""
    with (
        serving(tmp_path, lambda handler: reply(handler, status, Location="https://elsewhere/")) as (url, ca),
        pytest.raises(DownloadHTTPError) as caught,
    ):
        HttpsFetcher(ca_file=ca, token=None).download_bytes(f"{url}/metadata/timestamp.json", 100)
    assert caught.value.status_code == status


def test_compressed_answer_is_refused(tmp_path: Path) -> None:
    """Nothing is unpacked: a few bytes could become gigabytes."""
    with (
        serving(tmp_path, lambda handler: reply(handler, 200, b"x", Content_Encoding="gzip")) as (url, ca),
        pytest.raises(DownloadHTTPError),
    ):
        HttpsFetcher(ca_file=ca, token=None).download_bytes(f"{url}/metadata/timestamp.json", 100)


def test_endless_answer_ends_at_the_bound_of_its_kind(tmp_path: Path) -> None:
    """Whatever length signed metadata allow, a file is cut where its kind ends."""
    with serving(tmp_path, endless) as (url, ca):
        fetcher = HttpsFetcher(ca_file=ca, token=None)
        for path in ("metadata/timestamp.json", "targets/environments/indoor/1/ab.weights.safetensors"):
            with pytest.raises(DownloadLengthMismatchError, match="longer than"):
                fetcher.download_bytes(f"{url}/{path}", 1 << 40)


def test_slow_answer_ends_at_the_deadline(tmp_path: Path) -> None:
    """Slow retrieval: a byte now and then does not hold a gateway."""
    gone = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 200)
        while not gone.wait(0.05):
            handler.wfile.write(b"x")

    with serving(tmp_path, drip) as (url, ca):
        try:
            with pytest.raises(SlowRetrievalError, match="took longer"):
                HttpsFetcher(ca_file=ca, token=None, file_s=0.3).download_bytes(f"{url}/metadata/timestamp.json", 1000)
        finally:
            gone.set()


def test_nobody_there_is_an_error_in_words() -> None:
    """A trainer that is away is no crash."""
    with pytest.raises(DownloadError, match="https://localhost:1/"):
        HttpsFetcher(ca_file=None, token=None).download_bytes("https://localhost:1/metadata/timestamp.json", 10)


def test_folder_is_read_with_the_same_bounds(tmp_path: Path) -> None:
    """A medium that somebody brings is no more trusted than a server."""
    (tmp_path / "metadata").mkdir()
    path = tmp_path / "metadata" / "timestamp.json"
    path.write_bytes(b"x" * 100_000)
    fetcher = FolderFetcher()
    with pytest.raises(DownloadLengthMismatchError):
        fetcher.download_bytes(path.as_uri(), bound_of(path.as_uri()))
    with pytest.raises(DownloadHTTPError):
        fetcher.download_bytes(path.with_name("gone.json").as_uri(), 100)
    with pytest.raises(DownloadError, match="cannot be read"):
        fetcher.download_bytes((tmp_path / "metadata").as_uri(), 100)
    assert bound_of("https://a/targets/environments/indoor/1/ab.unknown.bin") == 0
