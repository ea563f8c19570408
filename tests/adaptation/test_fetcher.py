"""Fetching: verified TLS, a token, a bound and a deadline; whoever answers decides none of them."""

import datetime as dt
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from gateway.adaptation.fetcher import FolderFetcher, HttpsFetcher, bound_of

Answer = Callable[[BaseHTTPRequestHandler], None]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*encoding))
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def serving(folder: Path, answer: Answer) -> Iterator[tuple[str, Path]]:
    """Serve HTTPS on loopback; yield the address and the authority's file."""
    cert, key = certificate(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer(self)
            except OSError:
                self.close_connection = True  # the client had enough

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}", cert
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer at once."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


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


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send for ever, as fast as it is taken."""
    reply(handler, 200)
    while True:
        handler.wfile.write(b"x" * 65536)


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
