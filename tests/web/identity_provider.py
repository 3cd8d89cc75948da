"""A small OpenID Connect provider for tests: it signs real tokens, and makes single mistakes on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "boneage", "a secret of the client"

ANNA = {"sub": "7f3a", "preferred_username": "anna", "name": "Dr Anna Meyer", "groups": ["staff", "bone-readers"]}


_KEY: RSAKey = RSAKey.generate_key(2048, {"kid": "key-1", "use": "sig", "alg": "RS256"})


@dataclass
class Provider:
    """State of the provider.

    Attributes:
        url: its address, which is the issuer.
        user: claims of the user who logs in at the next authorisation.
        changes: claims that replace those of the next ID tokens; None removes one.
        algorithm: signature of the next ID tokens: ``RS256``, ``none``, ``HS256`` (with the client's secret), or
            ``other`` (with a key that is not published).
        in_userinfo: names of claims that only the userinfo endpoint states.
        codes: authorisation requests by code that has not been exchanged.
        logouts: parameters of the requests to end a session.
        requests: parameters of the authorisation requests.
        asks: the provider shows a login page with a button instead of answering at once.
    """

    url: str = ""
    user: dict[str, Any] = field(default_factory=lambda: dict(ANNA))
    changes: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    in_userinfo: tuple[str, ...] = ()
    codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    logouts: list[dict[str, str]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    asks: bool = False

    def authorise(self, query: dict[str, str]) -> str:
        """Return the address to which an authorisation request leads, as after the user's login."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        assert query["state"]
        assert query["nonce"]
        self.requests.append(query)
        code = secrets.token_urlsafe(16)
        self.codes[code] = (query, dict(self.user))
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the token endpoint."""
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if [unquote(part) for part in given.split(":")] != [CLIENT_ID, CLIENT_SECRET]:
            return 401, {"error": "invalid_client"}
        request, user = self.codes.pop(form["code"], ({}, {}))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if request.get("code_challenge") != challenge or request.get("redirect_uri") != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        self.tokens[access] = user
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": 300}
        return 200, {**answer, "id_token": self._id_token(request["nonce"], user)}

    def _id_token(self, nonce: str, user: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "auth_time": now, "nonce": nonce}
        claims |= {name: value for name, value in user.items() if name not in self.in_userinfo}
        claims |= self.changes
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            return f"{_part({'alg': 'none'})}.{_part(claims)}."
        if self.algorithm == "HS256":
            from joserfc.jwk import OctKey

            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET * 2), algorithms=["HS256"])
        key = RSAKey.generate_key(2048) if self.algorithm == "other" else _KEY
        return jwt.encode({"alg": "RS256", "kid": _KEY.kid}, claims, key)

    def description(self) -> dict[str, Any]:
        """Return the discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end-session",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = dict(parse_qsl(address.query))
            if address.path == "/.well-known/openid-configuration":
                self._json(200, provider.description())
            elif address.path == "/jwks":
                self._json(200, {"keys": [_KEY.as_dict(private=False)]})
            elif address.path == "/authorize" and provider.asks and "go" not in query:
                self._page("authorize", query)
            elif address.path == "/authorize":
                query.pop("go", None)
                self._redirect(provider.authorise(query))
            elif address.path == "/userinfo":
                user = provider.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
                self._json(200 if user else 401, user or {})
            elif address.path == "/end-session":
                provider.logouts.append(query)
                self._redirect(query["post_logout_redirect_uri"])
            else:
                self._json(404, {})

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = {name: values[0] for name, values in parse_qs(form).items()}
            self._json(*provider.exchange(fields, self.headers.get("Authorization", "")))

        def _page(self, action: str, query: dict[str, str]) -> None:
            fields = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in query.items())
            text = (
                '<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,">'
                f'<form action="/{action}">{fields}<button name="go" value="1">Log in as anna</button></form></html>'
            )
            self._send(200, "text/html", text.encode())

        def _redirect(self, url: str) -> None:
            self.send_response(302)
            self.send_header("Location", url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _json(self, status: int, body: dict[str, Any]) -> None:
            self._send(status, "application/json", json.dumps(body).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that answers at an address of this machine while the context lasts."""
    provider = Provider()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider)) as server:
        provider.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
