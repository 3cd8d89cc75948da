"""Login by a reverse proxy, which has checked its user and states the name in a header.

The headers count only if the connection itself comes from an address of `Configuration.header_proxies`.
``X-Forwarded-For`` plays no part in that: anybody can write it. From any other address, and where a header occurs twice
or under a name with underscores, the whole request is rejected.
"""

from __future__ import annotations

import logging
from ipaddress import IPv6Address, ip_address, ip_network

from django.contrib.auth import login as auth_login
from django.contrib.auth import logout as auth_logout
from django.db import transaction
from django.http import HttpRequest

from boneage.errors import BoneageError
from boneage.files import sha256_of
from boneage.web.accounts import sessions
from boneage.web.accounts.access import user_of
from boneage.web.accounts.audit import Action, record
from boneage.web.accounts.sign_on import Identity
from boneage.web.accounts.users import signed_on
from boneage.web.configuration import AMBIGUOUS_HEADERS
from boneage.web.models import FROM_PROXY, User, configuration

log = logging.getLogger(__name__)

_STAMP = "proxy"
"""Key of the session's data under which the statement of the proxy is kept, by which the session began."""

_LONGEST_NAME = 255


class HeaderLoginError(BoneageError):
    """``header_not_trusted``: a request with a header of the proxy that nobody but the proxy may send, or that is
    ambiguous.
    """

    def __init__(self, message: str) -> None:
        super().__init__("header_not_trusted", message)


def check(request: HttpRequest) -> None:
    """Reject a request whose headers imitate the proxy. The log holds neither the header nor the address.

    Raises:
        HeaderLoginError: ``header_not_trusted``.
    """
    if not configuration().has_header_login:
        return
    keys = _keys()
    ambiguous = request.META.get(AMBIGUOUS_HEADERS)
    is_given = any(key in request.META for key in keys)
    if ambiguous is not None and not ambiguous.isdisjoint(keys):
        reason = "a header of the proxy occurs twice, or with an underscore in its name"
    elif is_given and ambiguous is None:
        reason = "the web server in front does not tell ambiguous headers apart"
    elif is_given and not _comes_from_proxy(request):
        reason = "a header of the proxy comes from an address that is none of BONEAGE_HEADER_PROXIES"
    else:
        return
    log.warning("login by a proxy: the request is rejected: %s", reason)
    raise HeaderLoginError(f"The request was rejected: {reason}.")


def identity_of(request: HttpRequest) -> Identity | None:
    """Return the user whom the proxy states in a request that `check` has passed; None without one."""
    current = configuration()
    name = _value(request, current.header_user)
    if not name or len(name) > _LONGEST_NAME:
        return None
    groups = _value(request, current.header_groups)
    return Identity(
        subject=f"{FROM_PROXY}{name}",
        name=name,
        full_name=_value(request, current.header_full_name) if current.header_full_name else "",
        groups=frozenset(one.strip() for one in groups.split(",") if one.strip()),
    )


def follow(request: HttpRequest) -> bool:
    """Let the session of a browser follow the statement of the proxy: begin it, end it, and change role and departments
    with the groups. Sessions that began with a password stay as they are.

    Only a request for a page begins a session, since forms carry a token of the session that they belong to.

    Args:
        request: a request that `check` has passed.

    Returns:
        False if the user whom the proxy states has no access.
    """
    identity, user = identity_of(request), user_of(request)
    if user is not None and user.is_local:
        return True
    if user is not None and (identity is None or user.sign_on != identity.subject):
        with transaction.atomic():
            record(user, Action.LOGOUT, proxy=True)
            auth_logout(request)
        user = None
    if identity is None or (user is None and request.method not in {"GET", "HEAD"}):
        return True
    stamp = _stamp(identity)
    return (user is not None and request.session.get(_STAMP) == stamp) or _begin(request, identity, user, stamp)


def _begin(request: HttpRequest, identity: Identity, user: User | None, stamp: str) -> bool:
    """Begin a session, or bring the account of an open one up to date. Return whether the user has access."""
    with transaction.atomic():
        account = signed_on(identity)
        if account is None:
            auth_logout(request)
            return False
        if user is None:
            auth_login(request, account, backend=sessions.BACKEND)
            record(account, Action.LOGIN, proxy=True)
        request.user = account
        request.session[_STAMP] = stamp
    return True


def _stamp(identity: Identity) -> str:
    return sha256_of("\n".join([identity.subject, identity.full_name, *sorted(identity.groups)]).encode())


def _comes_from_proxy(request: HttpRequest) -> bool:
    """Return whether the connection itself comes from a proxy."""
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0])
    except ValueError:
        return False
    plain = (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
    return any(plain in ip_network(proxy) for proxy in configuration().header_proxies)


def _keys() -> set[str]:
    current = configuration()
    return {_key(name) for name in (current.header_user, current.header_groups, current.header_full_name) if name}


def _key(header: str) -> str:
    """Return the name of a header in the environment of a request."""
    return f"HTTP_{header.upper().replace('-', '_')}"


def _value(request: HttpRequest, header: str) -> str:
    """Return the value of a header as text. Proxies send UTF-8, which arrives as Latin-1 (PEP 3333)."""
    value: str = request.META.get(_key(header), "")
    try:
        value = value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""
    return value.strip() if value.isprintable() else ""
