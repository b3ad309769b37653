"""A token endpoint (OAuth 2.0, client credentials) on loopback, which can be made to refuse, to lie and to be slow."""

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from .authority import Authority, openssl

ISSUER, AUDIENCE = "https://issuer.example", "kafka"


class Issuer:
    """Signs tokens (RFC 7519, RS256) for `clients`, by client id and secret; a context manager.

    `life`: of the tokens, in seconds. `refuses`: an HTTP status that all get instead. `forged`: tokens are signed by a
    key that no broker knows. `given`: how many tokens there were; `asked`: how many questions.
    """

    def __init__(self, folder: Path, authority: Authority | None = None, port: int = 0) -> None:
        self.clients: dict[str, str] = {}
        self.life, self.refuses, self.forged = 60.0, 0, False
        self.given = self.asked = 0
        self._folder, self._authority = folder, authority
        for name in ("own", "other"):
            openssl("genrsa", "-out", str(folder / f"{name}.key"), "2048")
        (folder / "jwks.json").write_text(json.dumps({"keys": [self._public(folder / "own.key")]}))
        self.port = port

    @property
    def keys(self) -> Path:
        """The public keys that a broker checks tokens by (a JSON Web Key Set)."""
        return self._folder / "jwks.json"

    @property
    def url(self) -> str:
        """Where tokens are to be had."""
        return f"http{'s' * (self._authority is not None)}://127.0.0.1:{self.port}/token"

    def token(self, client: str) -> str:
        """A token for a client."""
        now = time.time()
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": client, "scope": "read", "iat": int(now), "exp": now + self.life}
        head = {"alg": "RS256", "typ": "JWT", "kid": "own"}
        signed = b".".join(_coded(json.dumps(one).encode()) for one in (head, said))
        key = self._folder / f"{'other' if self.forged else 'own'}.key"
        return (signed + b"." + _coded(openssl("dgst", "-sha256", "-sign", str(key), given=signed))).decode()

    def answer(self, authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and body for a client that authenticates itself by HTTP (RFC 6749, 2.3.1)."""
        self.asked += 1
        if self.refuses:
            return self.refuses, {"error": "temporarily_unavailable"}
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.clients.get(unquote(client)) != unquote(secret):
            return 401, {"error": "invalid_client", "error_description": "no such client, or another secret"}
        self.given += 1
        return 200, {"access_token": self.token(client), "token_type": "Bearer", "expires_in": int(self.life)}

    def __enter__(self) -> Self:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = issuer.answer(self.headers.get("Authorization", ""))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that don't trust us
        self.port = self._server.server_port
        if self._authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._authority.sign("127.0.0.1"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _public(key: Path) -> dict[str, str]:
        modulus = openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip().partition("=")[2]
        number = _coded(bytes.fromhex(modulus)).decode()
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "own", "n": number, "e": "AQAB"}


def _coded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
