"""What every service needs to be served by itself: under which certificate, and where it told that it listens."""

from pathlib import Path

from heddle_core.errors import CannotServe
from heddle_grpc.settings import ServerTls


def server_tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    """The server's certificate; None where nothing of TLS is set. Raises CannotServe for TLS that is set by half."""
    if certificate is not None and key is not None:
        return ServerTls(certificate=certificate, key=key, client_ca=client_ca)
    given = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": client_ca}
    named = [name for name, value in given.items() if value is not None]
    if named:
        problem = f"of certificate and key, it has {'one' if certificate or key else 'neither'}"
        raise CannotServe(f"TLS by {' and '.join(named)}", problem, "set both tls_certificate and tls_key")
    return None


def told_address(listen: str, port: int) -> str:
    """`listen` with the port that was picked; a socket file has none."""
    host, colon, _ = listen.rpartition(":")
    return listen if listen.startswith("unix:") or not colon else f"{host}:{port}"
