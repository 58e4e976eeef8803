"""What the runtime shows to tool providers that let in only whom they know.

Whoever runs the runtime names it by the provider's exact address. A tenant names addresses, too, when it registers a
provider, and must not be able to have a secret sent to a server of its choice: so nothing is shown that is not named.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import partial
from pathlib import Path

from heddle_core.clock import Clock
from heddle_core.errors import CannotServe, CredentialMissing
from heddle_core.log_lines import LogLines
from heddle_core.values import value
from heddle_grpc.channel import check_exposure
from heddle_grpc.identity_kinds import is_development
from heddle_grpc.settings import ChannelSettings, ChannelTls
from heddle_grpc.token_files import read_token
from heddle_runtime.settings import CredentialSettings, RuntimeSettings
from heddle_runtime.tools.grpc_provider import Remedies, connect
from heddle_runtime.tools.port import ToolFault, ToolFaultKind, ToolProvider
from heddle_runtime.tools.renewed_provider import RenewedProvider

SETTING = "HEDDLE_TOOLS__CREDENTIALS"

_log = LogLines(__name__)


@value
class _Content:
    """What stands in the files of one credential."""

    token: str | None = field(repr=False)
    tls: tuple[bytes | None, ...] = field(repr=False)


def check_credentials(settings: RuntimeSettings) -> None:
    """Raises CannotServe for a credential that is named by half, cannot be read, or can never be shown."""
    for address, given in settings.tools.credentials.items():
        channel = _channel(address, given)
        if (given.certificate_file is None) is not (given.key_file is None):
            problem = "a certificate and its key belong together"
            raise _refused(address, problem, "set certificate_file and key_file, or neither")
        if given.token_file is None and channel.tls is None:
            raise _refused(address, "it says nothing", "set token_file, or tls and its files, or leave it out")
        if not is_development(settings) and address not in settings.tools.provider_targets:
            remedy = "put it into HEDDLE_TOOLS__PROVIDER_TARGETS too, in the same spelling, or leave it out"
            raise _refused(address, "no tenant may register that address", remedy)
        if given.token_file is not None:
            check_exposure(channel)
        _read(address, given)


def reached(
    provider_id: str, address: str, credentials: Mapping[str, CredentialSettings], clock: Clock
) -> ToolProvider:
    """The provider at `address`, shown what is named for exactly that address, or nothing.

    Raises CannotServe for what is no address.
    """
    given = credentials.get(address)
    if given is None:
        return connect(provider_id, ChannelSettings(address=address), clock=clock, remedies=_nothing_named(address))

    def open_with(content: _Content) -> ToolProvider:
        token = content.token
        source = None if token is None else lambda: token
        try:
            settings = _channel(address, given)
            return connect(provider_id, settings, clock=clock, token=source, remedies=_named(address))
        except CannotServe as error:  # a file is gone since it was read
            raise _unreadable(provider_id, address, error) from error

    return RenewedProvider(provider_id, partial(_read_or_tell, provider_id, address, given), open_with)


def _channel(address: str, given: CredentialSettings) -> ChannelSettings:
    asked = given.tls or any(each is not None for each in (given.ca_file, given.certificate_file, given.server_name))
    tls = None
    if asked:
        tls = ChannelTls(
            ca=given.ca_file, certificate=given.certificate_file, key=given.key_file, authority=given.server_name
        )
    return ChannelSettings(address=address, tls=tls, allow_plaintext=given.allow_plaintext)


def _read(address: str, given: CredentialSettings) -> _Content:
    """Raises CannotServe, naming the file and never what stands in it."""
    token = None if given.token_file is None else read_token(_setting(address), given.token_file)
    files = (given.ca_file, given.certificate_file, given.key_file)
    return _Content(token, tuple(None if file is None else _bytes(address, file) for file in files))


def _bytes(address: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _refused(address, f"{file}: {error.strerror}", "check the path and who may read it") from error


def _read_or_tell(provider_id: str, address: str, given: CredentialSettings) -> _Content:
    try:
        return _read(address, given)
    except CannotServe as error:
        raise _unreadable(provider_id, address, error) from error


def _unreadable(provider_id: str, address: str, error: CannotServe) -> ToolFault:
    """The log says which file; tenants are not told how this machine is laid out."""
    _log.warning("the credential for a tool provider cannot be read", provider=provider_id, problem=str(error))
    message = (
        f"provider {provider_id} was not called, because the credential for {address} cannot be read: "
        f"mend the files that {SETTING} names for it on the runtime, whose log says which"
    )
    return ToolFault(ToolFaultKind.NOT_SENT, message, reason=CredentialMissing.reason)


def _nothing_named(address: str) -> Remedies:
    remedy = f"name a credential for {address} in {SETTING} on the runtime (docs/identity.md)"
    return Remedies(
        unreached=f"check its address and that it runs; if it asks for TLS, set that for {address} in {SETTING}",
        unknown=remedy,
        forbidden=remedy,
    )


def _named(address: str) -> Remedies:
    theirs = "which lists it among its own identities (docs/identity.md)"
    return Remedies(
        unreached=(
            f"check its address and that it runs, and that what {SETTING} says of TLS for {address} on the runtime "
            "fits the provider"
        ),
        unknown=f"make the one that {SETTING} names for {address} on the runtime fit the provider, {theirs}",
        forbidden=f"give it to the one that {SETTING} names for {address} on the runtime, {theirs}",
    )


def _refused(address: str, problem: str, remedy: str) -> CannotServe:
    return CannotServe(_setting(address), problem, remedy)


def _setting(address: str) -> str:
    return f"tools.credentials for {address}"
