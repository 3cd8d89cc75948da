"""Single sign-on by OpenID Connect: the protocol, by authlib. `boneage.web.accounts.users` makes accounts of it.

The authorisation code flow has PKCE (S256), a state, and a nonce. What a login needs when the browser returns is one
row of the table of sessions, which is used once. Its cookie is ``SameSite=Lax``: browsers do not send the cookie of the
session, which is ``Strict``, when the provider sends the user back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.django_client import DjangoOAuth2App
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from joserfc.errors import JoseError

from boneage.errors import BoneageError
from boneage.web.accounts.sessions import SessionStore
from boneage.web.models import BrowserSession, Role, configuration

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Accepted signatures: those with a key pair. Unsigned tokens, and those signed with the client's secret, are not."""

RETURN_WITHIN = timedelta(minutes=10)
"""Time within which the browser must return from the provider."""

LEEWAY_SECONDS = 60
"""Tolerated difference between the clocks of provider and service."""

_TIMEOUT_SECONDS = 10
_METADATA_SECONDS = 3600
"""Time for which the provider's own description is kept."""

_KEY = "sign_on"


class SignOnError(BoneageError):
    """A login at the provider that did not succeed.

    ``sign_on_unreachable``: the provider does not answer, or not as a provider does.
    ``sign_on_invalid``: the answer is not one to a login that this browser began, or its token is not valid.
    ``sign_on_declined``: the provider reports that the user may not, or does not want to.
    """


@dataclass(frozen=True)
class Identity:
    """A user as the provider describes it.

    Attributes:
        subject: identifier that never changes: issuer and ``sub``, or the name that a proxy has checked.
        name: name for the account, as sent.
        full_name: name of the person; empty if it is not sent.
        groups: the user's groups.
    """

    subject: str
    name: str
    full_name: str
    groups: frozenset[str]

    @property
    def role(self) -> Role | None:
        """The highest role of the user's groups; None without one."""
        current = configuration()
        by_role = {
            Role.ADMINISTRATOR: current.administrators,
            Role.REVIEWER: current.reviewers,
            Role.READER: current.readers,
        }
        return next((role for role, names in by_role.items() if self.groups.intersection(names)), None)


@dataclass(frozen=True)
class Begun:
    """A login that this browser began.

    Attributes:
        to: address of the page to which it leads.
        session: key of the session that the user confirms or unlocks; empty for a login.
        nonce: value that the ID token must repeat.
        code_verifier: proof that the code was requested here (PKCE).
        at: time of the beginning, seconds since 1970.
    """

    to: str
    session: str
    nonce: str
    code_verifier: str
    at: float


def begin(to: str, session: str = "") -> tuple[str, str]:
    """Return the address at the provider to which the browser is sent, and the value of the cookie for `set_cookie`.

    Args:
        to: address of the page to which the login leads.
        session: key of the session that the user confirms or unlocks. The provider then requests the password again.

    Raises:
        SignOnError: ``sign_on_unreachable``.
    """
    again = {"prompt": "login", "max_age": 0} if session else {}
    try:
        started = _provider().create_authorization_url(_redirect_uri(), **again)
    except _FAULTS as error:
        raise _unreachable(error) from error
    store = SessionStore()
    store[_KEY] = {
        "state": started["state"],
        "nonce": started["nonce"],
        "code_verifier": started["code_verifier"],
        "to": to,
        "session": session,
        "at": time.time(),
    }
    store.set_expiry(timezone.now() + RETURN_WITHIN)
    store.save()
    return started["url"], store.session_key or ""


def take(request: HttpRequest) -> Begun:
    """Return the login that this browser began, which is used up by this.

    Raises:
        SignOnError: ``sign_on_invalid``: there is none, it took too long, or the state differs.
    """
    key = request.COOKIES.get(_cookie(), "")
    kept = SessionStore(key).get(_KEY) if key else None
    if kept is None or not BrowserSession.objects.filter(session_key=key).delete()[0]:
        raise SignOnError("sign_on_invalid", "This browser has not begun this login.")
    if not constant_time_compare(kept["state"], request.GET.get("state", "")):
        raise SignOnError("sign_on_invalid", "The state of the login differs.")
    if request.GET.get("iss", configuration().oidc_issuer) != configuration().oidc_issuer:
        raise SignOnError("sign_on_invalid", "Another provider has answered.")
    return Begun(kept["to"], kept["session"], kept["nonce"], kept["code_verifier"], kept["at"])


def finish(request: HttpRequest, begun: Begun) -> tuple[Identity, str]:
    """Exchange the code of the provider's answer for the identity of the user and the ID token.

    Raises:
        SignOnError: the login did not succeed.
    """
    if "error" in request.GET:
        raise SignOnError("sign_on_declined", "The provider has declined the login.")
    provider = _provider()
    try:
        token = provider.fetch_access_token(
            _redirect_uri(), code=request.GET.get("code", ""), code_verifier=begun.code_verifier
        )
        claims = provider.parse_id_token(token, begun.nonce, _claims_options(), leeway=LEEWAY_SECONDS)
        if claims is None:
            raise SignOnError("sign_on_invalid", "The provider has sent no ID token.")
        if begun.session and claims.get("auth_time", 0) < begun.at - LEEWAY_SECONDS:
            raise SignOnError("sign_on_invalid", "The provider has not requested the password again.")
        claims = _with_user_info(provider, token, claims)
    except (JoseError, OAuthError) as error:
        log.warning("single sign-on: %s: %s", type(error).__name__, getattr(error, "error", ""))
        raise SignOnError("sign_on_invalid", "The answer of the provider is not valid.") from error
    except _FAULTS as error:
        raise _unreachable(error) from error
    return _identity(claims), token["id_token"]


def logout_url(id_token: str) -> str | None:
    """Return the address at which the provider ends its own session; None if it has none, or cannot be reached."""
    back = f"{configuration().url.rstrip('/')}{reverse('login')}"
    try:
        made = _provider().create_logout_url(back, id_token_hint=id_token, client_id=configuration().oidc_client_id)
    except _FAULTS as error:
        log.warning("single sign-on: no logout at the provider: %s", type(error).__name__)
        return None
    return str(made["url"])


def set_cookie(response: HttpResponseBase, value: str) -> None:
    """Set the cookie of a login that begins; an empty value deletes it."""
    if value:
        response.set_cookie(
            _cookie(),
            value,
            max_age=RETURN_WITHIN,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    else:
        response.delete_cookie(_cookie(), samesite="Lax")


_FAULTS = (requests.RequestException, RuntimeError, KeyError, TypeError, ValueError)
"""Exceptions for a provider that cannot be reached, or whose answers are malformed."""


def _unreachable(error: Exception) -> SignOnError:
    log.warning("single sign-on: the provider cannot be used: %s", type(error).__name__)
    return SignOnError("sign_on_unreachable", "The provider of single sign-on cannot be reached.")


def _cookie() -> str:
    return "__Host-sign-on" if settings.SESSION_COOKIE_SECURE else "sign-on"


def _redirect_uri() -> str:
    return f"{configuration().url.rstrip('/')}{reverse('sign_on_return')}"


def _claims_options() -> dict[str, Any]:
    current = configuration()
    return {
        "iss": {"essential": True, "value": current.oidc_issuer},
        "aud": {"essential": True, "value": current.oidc_client_id},
        "sub": {"essential": True},
        "nonce": {"essential": True},
    }


def _provider() -> DjangoOAuth2App:
    """Return the provider with its own description.

    Raises:
        Exception: one of `_FAULTS`.
    """
    current = configuration()
    made = _made(
        current.oidc_issuer,
        current.oidc_client_id,
        current.oidc_client_secret,
        current.oidc_scopes,
        int(time.monotonic() / _METADATA_SECONDS),
    )
    metadata = made.load_server_metadata()
    if metadata["issuer"] != current.oidc_issuer:
        raise ValueError("the provider has another issuer")
    offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
    metadata["id_token_signing_alg_values_supported"] = accepted = [one for one in offered if one in ALGORITHMS]
    if not accepted:
        raise ValueError("the provider signs with no accepted algorithm")
    if "client_secret_basic" not in metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
        made.client_kwargs["token_endpoint_auth_method"] = "client_secret_post"  # noqa: S105 - a method
    return made


@lru_cache(maxsize=1)
def _made(issuer: str, client_id: str, client_secret: str, scopes: str, _period: int) -> DjangoOAuth2App:
    return DjangoOAuth2App(
        None,
        "provider",
        client_id=client_id,
        client_secret=client_secret,
        server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={"scope": scopes, "code_challenge_method": "S256", "default_timeout": _TIMEOUT_SECONDS},
    )


def _with_user_info(provider: DjangoOAuth2App, token: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims, completed by those that the provider sends only on request."""
    wanted = (configuration().oidc_groups, configuration().oidc_name)
    endpoint = provider.load_server_metadata().get("userinfo_endpoint")
    if all(name in claims for name in wanted) or not endpoint:
        return dict(claims)
    more = provider.userinfo(token=token)
    if more.get("sub") != claims["sub"]:
        raise SignOnError("sign_on_invalid", "The provider describes another user.")
    return {**more, **claims}


def _identity(claims: Mapping[str, Any]) -> Identity:
    current = configuration()
    groups = claims.get(current.oidc_groups, [])
    member_of = {groups} if isinstance(groups, str) else {one for one in groups or () if isinstance(one, str)}
    return Identity(
        subject=f"{current.oidc_issuer} {claims['sub']}",
        name=str(claims.get(current.oidc_name, "")),
        full_name=str(claims.get("name", "")),
        groups=frozenset(member_of),
    )
