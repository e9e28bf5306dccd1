"""A real OIDC issuer on this machine: its discovery document, its keys, and the tokens that it signs."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from servers import Answer, Server

AUDIENCE = "https://unlearn.example"
MAKERS = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
PUBLISHED = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}


class TestIssuer(Server):
    """Serves the keys in `keys`; `asked` are the paths that were asked for, `answers` what else to say there."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__(_Published)
        self.url += "/realm"
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.keys: dict[str, tuple[str, Any]] = {}
        self.add("first", "ES256")

    def add(self, kid: str, algorithm: str, key: Any = None) -> None:
        self.keys[kid] = (algorithm, key or MAKERS[algorithm]())

    def published(self) -> list[dict[str, Any]]:
        return [
            PUBLISHED[algorithm[:2]].to_jwk(key.public_key(), as_dict=True)
            | {"kid": kid, "use": "sig"}
            | ({"alg": algorithm} if algorithm == "PS256" else {})  # what a key alone does not tell
            for kid, (algorithm, key) in self.keys.items()
        ]

    def said(self, path: str) -> tuple[int, bytes]:
        found: dict[str, Any] = {
            "/realm/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/realm/keys": {"keys": self.published()},
        }
        return self.answers.get(path) or (200 if path in found else 404, json.dumps(found.get(path)).encode())

    def token(self, kid: str = "first", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token, but for what is given; a claim that is None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ada@post.example", "iat": now, "exp": now + 300}
        algorithm, key = self.keys[kid]
        kept = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(kept, key, algorithm, {"kid": kid} | (headers or {}))


class _Published(Answer):
    server: TestIssuer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send(*self.server.said(self.path))
