"""Bearer tokens signed by an issuer: JWTs verified against a key set that is kept fresh beside the calls."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    InvalidKeyIdError,
    JoseError,
    MissingClaimError,
)
from joserfc.jwk import KeySet

from heddle_core.background import in_background
from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_core.errors import CredentialInvalid
from heddle_core.log_lines import LogLines
from heddle_grpc.identity import Credentials, Identity, identity_of

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""Asymmetric ones only: with a shared secret, whoever verifies could also sign."""

Fetch = Callable[[], Awaitable[bytes]]
"""Reads a JWKS document from where it is kept."""

UNREADABLE = (OSError, httpx.HTTPError, JoseError, ValueError)
"""What reading an issuer's keys may raise."""

_CACHED_TOKENS = 4_096
_LONGEST_TOKEN = 8_192

_log = LogLines(__name__)


@dataclass(frozen=True)
class Issuer:
    """Whose tokens are taken, and what they must say."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ALGORITHMS
    tenant_claim: str = "tenant"
    principal_claim: str = "sub"
    scope_claim: str = "scope"
    """Its value is a list, or one text with spaces between."""
    leeway: timedelta = timedelta(seconds=30)
    """How far the issuer's clock may be from ours."""


class SigningKeys:
    """The issuer's public keys, read again at times, and when a token names a key that is not among them."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        refresh_every: timedelta = timedelta(minutes=5),
        pause: timedelta = timedelta(seconds=10),
    ) -> None:
        """`pause` is the least time between two readings: forged key ids must not make us flood the issuer."""
        self._fetch = fetch
        self._refresh_every = refresh_every.total_seconds()
        self._pause = pause.total_seconds()
        self._wanted = asyncio.Event()
        self._news = asyncio.Condition()
        self.key_set = KeySet([])
        self.version = 0
        """Counts the readings that succeeded."""

    async def refresh(self) -> None:
        """Read the keys now. Raises what is in `UNREADABLE`; the old keys then stay."""
        document = await self._fetch()
        self.key_set = await asyncio.to_thread(_parsed, document)
        self.version += 1
        async with self._news:
            self._news.notify_all()

    async def changed(self, *, after: int) -> None:
        """Wait until the keys have been read more than `after` times."""
        async with self._news:
            await self._news.wait_for(lambda: self.version > after)

    def want(self) -> None:
        """Ask for a reading soon: a token named a key that is not here."""
        self._wanted.set()

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncGenerator[None]:
        """Read the keys, raising if that fails, and then again and again until the block is left."""
        await self.refresh()
        async with in_background({"keeping signing keys fresh": self._keep_fresh}):
            yield

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                async with asyncio.timeout(max(self._refresh_every - self._pause, 0)):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self.refresh()
            except UNREADABLE as error:
                _log.warning("signing keys not refreshed, the old ones stay", problem=str(error))


class JwtTokens:
    """Verifies the tokens of one issuer."""

    def __init__(self, issuer: Issuer, keys: SigningKeys, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._claims = jwt.JWTClaimsRegistry(
            now=self._now,
            leeway=round(issuer.leeway.total_seconds()),
            iss={"essential": True, "value": issuer.issuer},
            aud={"essential": True, "value": issuer.audience},
            exp={"essential": True},
        )
        self._verified: dict[str, tuple[Identity, float]] = {}
        self._verified_with = keys.version

    def identify(self, credentials: Credentials) -> Identity | None:
        token = credentials.bearer
        if not token or token.count(".") != 2:
            return None
        if self._verified_with != self._keys.version:
            self._verified.clear()
            self._verified_with = self._keys.version
        known = self._verified.get(token)
        if known is not None and self._now() < known[1]:
            return known[0]
        identity, expires = self._verify(token)
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()
        self._verified[token] = (identity, expires)
        return identity

    def _verify(self, token: str) -> tuple[Identity, float]:
        if len(token) > _LONGEST_TOKEN:
            raise CredentialInvalid(f"a token may have at most {_LONGEST_TOKEN} characters")
        try:
            claims = jwt.decode(token, self._keys.key_set, algorithms=self._issuer.algorithms).claims
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise CredentialInvalid("the token has expired") from error
        except (InvalidClaimError, MissingClaimError) as error:
            raise CredentialInvalid(f"wrong or missing claim: {error.description}") from error
        except InvalidKeyIdError as error:
            self._keys.want()
            raise CredentialInvalid("it is signed with a key that the issuer does not list") from error
        except (JoseError, ValueError, TypeError, KeyError, UnicodeError) as error:
            raise CredentialInvalid("it is not a token that verifies, signed with an accepted algorithm") from error
        identity = identity_of(
            claims.get(self._issuer.tenant_claim),
            claims.get(self._issuer.principal_claim),
            _scopes(claims.get(self._issuer.scope_claim)),
        )
        return identity, float(claims["exp"])

    def _now(self) -> int:
        return self._clock.now() // MICROS_PER_SECOND


def keys_in_file(path: Path) -> Fetch:
    """Reads a JWKS file in a thread, because a disk may hang."""
    return lambda: asyncio.to_thread(path.read_bytes)


def keys_at(url: str, *, timeout: timedelta = timedelta(seconds=10)) -> Fetch:
    """Reads a JWKS document over HTTP, following no redirects."""

    async def fetch() -> bytes:
        async with httpx.AsyncClient(timeout=timeout.total_seconds(), follow_redirects=False) as client:
            response = await client.get(url, headers={"accept": "application/json"})
            response.raise_for_status()
            return response.content

    return fetch


def _parsed(document: bytes) -> KeySet:
    read: Any = json.loads(document)
    try:
        return KeySet.import_key_set(read)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no JWKS document: an object with the list `keys`") from error


def _scopes(claim: object) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(each for each in claim if isinstance(each, str))  # pyright: ignore[reportUnknownVariableType]
    return frozenset()
