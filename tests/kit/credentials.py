"""Credentials of every kind that a server takes, and the files in which it is told of them."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import trustme
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from heddle_grpc.api_keys import ApiKeyRecord

RUN, READ, ACT_AS = "runtime.run", "runtime.read", "act_as"

KEY = ECKey.generate_key("P-256", parameters={"kid": "k1"})
STRANGER = ECKey.generate_key("P-256", parameters={"kid": "k1"})
"""Of somebody who claims to be the issuer."""
JWKS = json.dumps(KeySet([KEY]).as_dict(private=False)).encode()
ISSUER = {"issuer": "https://issuer.example", "audience": "heddle"}


def token(key: ECKey = KEY, /, **changed: Any) -> str:
    """What the issuer would sign for ada, who may run and read, unless changed."""
    claims = {"iss": ISSUER["issuer"], "aud": "heddle", "exp": int(time.time()) + 300, "sub": "ada", "tenant": "acme"}
    return jwt.encode({"alg": "ES256", "kid": "k1"}, {**claims, "scope": f"{RUN} {READ}", **changed}, key)


def kept(folder: Path, *records: ApiKeyRecord) -> Path:
    """A file of API keys."""
    path = folder / "keys.json"
    path.write_text(f"[{','.join(record.model_dump_json() for record in records)}]")
    return path


def published(folder: Path) -> Path:
    """The issuer's keys as a file."""
    path = folder / "jwks.json"
    path.write_bytes(JWKS)
    return path


def listed(folder: Path, name: str, *scopes: str, tenant: str = "ops", principal: str = "spawn") -> Path:
    """A file that says whose the certificate of that name is."""
    path = folder / "certificates.json"
    path.write_text(json.dumps([{"name": name, "tenant": tenant, "principal": principal, "scopes": scopes}]))
    return path


@dataclass
class Authority:
    """Issues the certificates of servers and clients, as PEM files."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def roots(self) -> str:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return str(path)

    def client(self, name: str) -> dict[str, str]:
        """The files of a client with that name, as a channel takes them."""
        return {"ca": self.roots, **self._issued(name, name)}

    def server(self) -> dict[str, str]:
        """The settings of a server on this machine that asks each client for a certificate."""
        made = self._issued("server", "localhost", "127.0.0.1")
        return {"tls_certificate": made["certificate"], "tls_key": made["key"], "tls_client_ca": self.roots}

    def server_credentials(self, name: str) -> grpc.ServerCredentials:
        """The same for a server of that name which has no settings."""
        made = self._issued(name, name)
        pair = Path(made["key"]).read_bytes(), Path(made["certificate"]).read_bytes()
        return grpc.ssl_server_credentials([pair], self.ca.cert_pem.bytes(), require_client_auth=True)

    def _issued(self, file: str, *names: str) -> dict[str, str]:
        made = self.ca.issue_cert(*names)
        chain, key = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return {"certificate": str(chain), "key": str(key)}
