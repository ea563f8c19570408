"""TLS to the broker: which authority is trusted, and the client's own certificate."""

import ssl

from gateway.settings import BrokerSettings


class TlsFileError(OSError):
    """A certificate or key file cannot be used."""


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 (the signature of the base class)
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """Return TLS 1.2 or newer that trusts the given authority alone and checks the broker's name.

    Raises:
        OSError: A file cannot be used; the text names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    try:
        context.load_verify_locations(cafile=settings.tls_ca_certs)
    except OSError as error:
        raise TlsFileError(f"mqtt.tls_ca_certs {settings.tls_ca_certs} cannot be used: {error}") from error
    if settings.tls_certfile is not None:
        try:
            # The empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile, password="")
        except OSError as error:
            files = f"mqtt.tls_certfile {settings.tls_certfile} with mqtt.tls_keyfile {settings.tls_keyfile}"
            raise TlsFileError(f"{files} cannot be used: {error}") from error
    return context
