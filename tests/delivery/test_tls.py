"""TLS settings: what is refused before anything is sent."""

import ssl
from pathlib import Path

import pytest

from gateway.delivery.tls import TlsFileError, tls_context
from gateway.settings import BrokerSettings


def test_tls_when_the_files_are_fine(authority: Path) -> None:
    """The broker's name and certificate are checked, by nothing older than TLS 1.2."""
    context = tls_context(
        BrokerSettings(
            tls_ca_certs=authority / "ca.pem",
            tls_certfile=authority / "client.pem",
            tls_keyfile=authority / "client.key",
        )
    )

    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("broken", ["tls_ca_certs", "tls_certfile"])
def test_tls_when_a_file_cannot_be_used(authority: Path, tmp_path: Path, broken: str) -> None:
    """The error names the key of the configuration."""
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    files = {
        "tls_ca_certs": authority / "ca.pem",
        "tls_certfile": authority / "client.pem",
        "tls_keyfile": authority / "client.key",
        broken: nonsense,
    }

    with pytest.raises(TlsFileError, match=broken):
        tls_context(BrokerSettings(**files))  # type: ignore[arg-type]
