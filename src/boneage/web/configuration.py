"""Settings of an installation, all given by environment variables. `settings` derives Django's settings from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import DEFAULT_REFERENCE, find_reference
from boneage.errors import ConfigurationError
from boneage.web.departments import NONE, Departments, read_departments
from boneage.web.letterhead import Letterhead, read_letterhead

Mode = Literal["open", "clinic"]

PREFIX = "BONEAGE_"

ROLES = ("reader", "reviewer", "administrator")
"""Values of `boneage.web.models.Role`, which this module cannot import."""

_GROUPS = ("readers", "reviewers", "administrators")
"""Fields with the groups of the roles."""

_HEADERS = ("header_user", "header_groups", "header_full_name")
"""Fields with names of headers."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
"""Name of a header that no other name can be mistaken for: without underscores."""

_OTHER_HEADERS = {
    "authorization",
    "cookie",
    "host",
    "origin",
    "referer",
    "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
}
"""Headers that mean something else here."""

AMBIGUOUS_HEADERS = "boneage.ambiguous_headers"
"""Key of a request's environment with the names of headers, in the form of ``HTTP_X_REMOTE_USER``, that occurred more
than once or with an underscore. `boneage.web.processes.gate` sets it for `boneage.web.accounts.header_login`."""

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


_OTHERS = {"HOST", "PORT", "WORKERS", "ADMIN_PASSWORD", "TRACEBACK"}
"""Variables that commands read besides the fields of `Configuration`."""


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that look like settings but are not: typing errors."""
    valid = {PREFIX + name for name in _OTHERS | {field.upper() for field in Configuration.__dataclass_fields__}}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in valid)


@dataclass(frozen=True)
class Configuration:
    """Settings of one installation.

    Attributes:
        mode: ``open``: no accounts; radiographs and results are deleted `open_minutes` after the result. ``clinic``:
            accounts with roles, a worklist and an audit log.
        store: folder of the database (SQLite) and of the secret key.
        database: URL of a PostgreSQL database; empty for SQLite in `store`.
        secret_key: key for sessions and signatures; empty only where nothing is served.
        url: address at which users reach the service. ``https`` makes cookies secure and is required of every request.
        hosts: further names under which the service may be reached, besides the name in `url` and this machine's own.
        proxy: a reverse proxy reports the client by ``X-Forwarded-Proto`` and ``X-Forwarded-For``.
        bundle: name or folder of the model bundle.
        atlas: name or folder of reference plates.
        reference: identifier or CSV file of the reference of healthy children, by which SDS are computed.
            `boneage.clinical.references.configured_reference` reads the same variable.
        letterhead: folder of the letterhead of reports (`boneage.web.letterhead`); empty for none.
        pacs: file that makes the service a DICOM node (`boneage.node.configuration`), in the mode ``clinic``; empty for
            none.
        departments: file of the departments, each of which sees its own cases (`boneage.web.departments`), in the mode
            ``clinic``; empty for none.
        time_zone: IANA name of the time zone of all times on pages, in reports, tables and the API.
        open_minutes: time for which a result can be seen in the mode ``open``, minutes.
        open_hourly: radiographs that one client may submit per hour in the mode ``open``; 0 for any number.
        idle_minutes: a session ends after this time without a request of its user, minutes; at most a day.
        lock_minutes: pages are locked after this time without use, minutes; 0 for never. It has no effect unless it is
            shorter than `idle_minutes`.
        session_hours: a session ends this time after the login in any case, hours; at most 30 days.
        oidc_issuer: address of the OpenID Connect provider of single sign-on; empty for none.
        oidc_client_id: name under which the service is registered at the provider.
        oidc_client_secret: secret of this registration.
        oidc_scopes: scopes that are requested, separated by spaces.
        oidc_name: claim with the name of the account.
        oidc_groups: claim with the user's groups.
        readers: groups of single sign-on or of the proxy whose members are readers.
        reviewers: groups whose members are reviewers.
        administrators: groups whose members are administrators. The highest role counts.
        header_user: HTTP header in which a reverse proxy states the name of the user that it has checked; empty for no
            such login.
        header_groups: header with the user's groups, separated by commas.
        header_full_name: header with the full name of the user; empty for none.
        header_proxies: addresses and networks of the proxies; the headers count from nowhere else.
        header_logout: address at which the proxy ends its own session; empty for none.
        emergency_administrator: the only user who may log in with a password; empty for everybody.
        second_factor: roles whose local accounts must log in with a second factor.
        log_format: ``text`` or ``json``: form of the lines of the log.
        access_log: each request is logged, without addresses of objects and clients.
        retention_days: in the mode ``clinic``, cases are deleted after this time without a change, days; 0 for never.
        radiograph_bytes: largest upload of a radiograph, bytes.
        waiting: maximum number of waiting radiographs; more are rejected with ``busy``.
        lease_seconds: a worker that has not finished a radiograph within this time counts as dead, and another worker
            takes it over.
        attempts: number of attempts at a radiograph whose workers die, before it fails with ``worker_lost``.
        worker_mebibytes: memory limit of one worker, MiB; a radiograph that needs more fails.
    """

    mode: Mode = "open"
    store: Path = Path("boneage-store")
    database: str = ""
    secret_key: str = ""
    url: str = "http://127.0.0.1:8000"
    hosts: tuple[str, ...] = ()
    proxy: bool = False
    bundle: str = "default"
    atlas: str = "default"
    reference: str = DEFAULT_REFERENCE
    letterhead: str = ""
    pacs: str = ""
    departments: str = ""
    time_zone: str = "UTC"
    open_minutes: int = 30
    open_hourly: int = 120
    idle_minutes: int = 30
    lock_minutes: int = 10
    session_hours: int = 12
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    oidc_scopes: str = "openid profile"
    oidc_name: str = "preferred_username"
    oidc_groups: str = "groups"
    readers: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()
    header_user: str = ""
    header_groups: str = "X-Remote-Groups"
    header_full_name: str = ""
    header_proxies: tuple[str, ...] = ()
    header_logout: str = ""
    emergency_administrator: str = ""
    second_factor: tuple[str, ...] = ()
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False
    retention_days: int = 0
    radiograph_bytes: int = 64 * 2**20
    waiting: int = 500
    lease_seconds: int = 60
    attempts: int = 10
    worker_mebibytes: int = 4096

    @property
    def is_open(self) -> bool:
        """Return whether the service runs without accounts."""
        return self.mode == "open"

    @property
    def is_https(self) -> bool:
        """Return whether users reach the service by https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def locks_after_minutes(self) -> int:
        """Return the minutes without use after which pages are locked; 0 for never."""
        return self.lock_minutes if self.lock_minutes < self.idle_minutes else 0

    @property
    def has_sign_on(self) -> bool:
        """Return whether users log in at an OpenID Connect provider."""
        return bool(self.oidc_issuer)

    @property
    def has_header_login(self) -> bool:
        """Return whether a reverse proxy logs users in."""
        return bool(self.header_user)

    @property
    def letterhead_content(self) -> Letterhead:
        """Letterhead of reports; an empty one without the setting."""
        return read_letterhead(Path(self.letterhead).expanduser()) if self.letterhead else Letterhead()

    @property
    def department_list(self) -> Departments:
        """Departments of the installation; none without the setting."""
        return read_departments(Path(self.departments)) if self.departments else NONE

    @property
    def all_hosts(self) -> list[str]:
        """Return the host names that requests may address."""
        named = urlsplit(self.url).hostname
        return list(dict.fromkeys([*([named] if named else []), "127.0.0.1", "localhost", "[::1]", *self.hosts]))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Configuration:
        """Read ``BONEAGE_MODE``, ``BONEAGE_STORE`` and so on: the names of the fields in capitals.

        Raises:
            ConfigurationError: ``setting_invalid``, naming the variable.
        """
        default = cls()
        text = {name: environment.get(PREFIX + name.upper(), "").strip() for name in cls.__dataclass_fields__}
        mode = text["mode"] or default.mode
        if mode not in {"open", "clinic"}:
            raise ConfigurationError("setting_invalid", f"BONEAGE_MODE must be open or clinic, not {mode!r}.")
        if text["log_format"] not in {"", "text", "json"}:
            raise ConfigurationError(
                "setting_invalid", f"BONEAGE_LOG_FORMAT must be text or json, not {text['log_format']!r}."
            )
        url = text["url"] or default.url
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ConfigurationError(
                "setting_invalid", f"BONEAGE_URL must begin with http:// or https://, not {url!r}."
            )
        if text["database"] and urlsplit(text["database"]).scheme not in {"postgresql", "postgres"}:
            raise ConfigurationError("setting_invalid", "BONEAGE_DATABASE must begin with postgresql://.")
        if text["pacs"] and mode == "open":
            raise ConfigurationError(
                "setting_invalid", "BONEAGE_PACS needs BONEAGE_MODE=clinic: results of a PACS belong to a clinic."
            )
        if text["departments"] and mode == "open":
            raise ConfigurationError(
                "setting_invalid", "BONEAGE_DEPARTMENTS needs BONEAGE_MODE=clinic: departments have users."
            )
        try:
            find_reference(text["reference"])
        except ClinicalError as error:
            raise ConfigurationError("setting_invalid", f"BONEAGE_REFERENCE cannot be used. {error.message}") from None
        configuration = cls(
            mode="open" if mode == "open" else "clinic",
            store=Path(text["store"] or default.store).expanduser(),
            database=text["database"],
            secret_key=text["secret_key"],
            url=url,
            hosts=_words(text["hosts"]),
            proxy=_flag("proxy", text),
            bundle=text["bundle"] or default.bundle,
            atlas=text["atlas"] or default.atlas,
            reference=text["reference"] or default.reference,
            letterhead=text["letterhead"],
            pacs=text["pacs"],
            departments=text["departments"],
            time_zone=_time_zone(text["time_zone"] or default.time_zone),
            open_minutes=_count("open_minutes", text, default.open_minutes, 1),
            open_hourly=_count("open_hourly", text, default.open_hourly, 0),
            idle_minutes=_count("idle_minutes", text, default.idle_minutes, 1, 1440),
            lock_minutes=_count("lock_minutes", text, default.lock_minutes, 0, 1440),
            session_hours=_count("session_hours", text, default.session_hours, 1, 720),
            **_oidc(text, environment),
            **_header(text, environment),
            readers=_words(text["readers"]),
            reviewers=_words(text["reviewers"]),
            administrators=_words(text["administrators"]),
            emergency_administrator=text["emergency_administrator"],
            second_factor=_roles("second_factor", text),
            log_format="json" if text["log_format"] == "json" else "text",
            access_log=_flag("access_log", text),
            retention_days=_count("retention_days", text, default.retention_days, 0),
            radiograph_bytes=_count("radiograph_bytes", text, default.radiograph_bytes, 1024),
            waiting=_count("waiting", text, default.waiting, 1),
            lease_seconds=_count("lease_seconds", text, default.lease_seconds, 1),
            attempts=_count("attempts", text, default.attempts, 1),
            worker_mebibytes=_count("worker_mebibytes", text, default.worker_mebibytes, 1024),
        )
        _ = configuration.letterhead_content, configuration.department_list  # faults are reported at the start
        configuration._check_logins()
        return configuration

    def _check_logins(self) -> None:
        """Check that the settings of logins without a password go together.

        Raises:
            ConfigurationError: ``setting_invalid``.
        """
        if self.has_sign_on and self.has_header_login:
            raise ConfigurationError(
                "setting_invalid", "BONEAGE_OIDC_ISSUER and BONEAGE_HEADER_USER exclude each other: choose one login."
            )
        if self.has_header_login and self.is_open:
            raise ConfigurationError("setting_invalid", "BONEAGE_HEADER_USER needs BONEAGE_MODE=clinic.")
        has_groups = any(getattr(self, name) for name in _GROUPS)
        if (self.has_sign_on or self.has_header_login) != has_groups:
            raise ConfigurationError(
                "setting_invalid",
                "A login by groups needs BONEAGE_READERS, BONEAGE_REVIEWERS or BONEAGE_ADMINISTRATORS, and single "
                "sign-on (BONEAGE_OIDC_ISSUER) or a proxy (BONEAGE_HEADER_USER).",
            )
        if self.emergency_administrator and not has_groups:
            raise ConfigurationError(
                "setting_invalid",
                "BONEAGE_EMERGENCY_ADMINISTRATOR needs single sign-on (BONEAGE_OIDC_ISSUER) or a proxy "
                "(BONEAGE_HEADER_USER).",
            )


def _reject_unknown(prefix: str, names: Iterable[str], environment: Mapping[str, str]) -> None:
    """Reject a setting of a login that does not exist: a typing error must not open or close a door.

    Raises:
        ConfigurationError: ``setting_invalid``.
    """
    valid = {f"{PREFIX}{name.upper()}" for name in names}
    for name in sorted(environment):
        if name.startswith(f"{PREFIX}{prefix}") and name not in valid:
            raise ConfigurationError("setting_invalid", f"{name} does not exist (docs/serve.md has the settings).")


def _header(text: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the login by a proxy.

    Raises:
        ConfigurationError: ``setting_invalid``: a setting is invalid, unknown, or missing beside the others.
    """
    names = [name for name in Configuration.__dataclass_fields__ if name.startswith("header_")]
    _reject_unknown("HEADER_", names, environment)
    if not any(text[name] for name in names):
        return {}
    for name in ("header_user", "header_proxies"):
        if not text[name]:
            raise ConfigurationError(
                "setting_invalid", f"{PREFIX}{name.upper()} is missing: the login by a proxy needs it."
            )
    proxies = _words(text["header_proxies"])
    for proxy in proxies:
        try:
            everybody = ip_network(proxy).prefixlen == 0
        except ValueError:
            everybody = True
        if everybody:
            raise ConfigurationError(
                "setting_invalid", f"BONEAGE_HEADER_PROXIES must hold IP addresses and networks, not {proxy!r}."
            )
    if text["header_logout"] and not text["header_logout"].startswith(("/", "https://")):
        raise ConfigurationError("setting_invalid", "BONEAGE_HEADER_LOGOUT must begin with / or https://.")
    headers = {name: text[name] or getattr(Configuration, name) for name in _HEADERS}
    for name, header in headers.items():
        if header and (not _HEADER_NAME.fullmatch(header) or header.lower() in _OTHER_HEADERS):
            raise ConfigurationError(
                "setting_invalid",
                f"{PREFIX}{name.upper()} must be a header of its own, of letters, digits and hyphens, not {header!r}.",
            )
    given = [header.lower() for header in headers.values() if header]
    if len(set(given)) < len(given):
        raise ConfigurationError("setting_invalid", "BONEAGE_HEADER_USER and the other headers must differ.")
    return {**headers, "header_proxies": proxies, "header_logout": text["header_logout"]}


def _oidc(text: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of single sign-on.

    Raises:
        ConfigurationError: ``setting_invalid``: a setting is invalid, unknown, or missing beside the others.
    """
    names = [name for name in Configuration.__dataclass_fields__ if name.startswith("oidc_")]
    _reject_unknown("OIDC_", names, environment)
    if not any(text[name] for name in names):
        return {}
    for name in ("oidc_issuer", "oidc_client_id", "oidc_client_secret"):
        if not text[name]:
            raise ConfigurationError("setting_invalid", f"{PREFIX}{name.upper()} is missing: single sign-on needs it.")
    issuer = urlsplit(text["oidc_issuer"])
    is_local = issuer.scheme == "http" and issuer.hostname in {"127.0.0.1", "localhost", "::1"}
    if not issuer.hostname or not (issuer.scheme == "https" or is_local):
        raise ConfigurationError(
            "setting_invalid", f"BONEAGE_OIDC_ISSUER must begin with https://, not {text['oidc_issuer']!r}."
        )
    scopes = text["oidc_scopes"] or Configuration.oidc_scopes
    if "openid" not in scopes.split():
        raise ConfigurationError("setting_invalid", f"BONEAGE_OIDC_SCOPES must contain openid, not {scopes!r}.")
    others = {name: text[name] for name in names if text[name]}
    return {**others, "oidc_scopes": scopes}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _roles(name: str, text: Mapping[str, str]) -> tuple[str, ...]:
    roles = _words(text[name])
    if not set(roles) <= set(ROLES):
        raise ConfigurationError(
            "setting_invalid", f"{PREFIX}{name.upper()} must name roles ({', '.join(ROLES)}), not {text[name]!r}."
        )
    return roles


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # an unknown name, or one that leads out of the data
        raise ConfigurationError(
            "setting_invalid", f"BONEAGE_TIME_ZONE must be a name such as Europe/Madrid, not {name!r}."
        ) from None
    return name


def _flag(name: str, text: Mapping[str, str]) -> bool:
    value = text[name].lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError("setting_invalid", f"{PREFIX}{name.upper()} must be 1 or 0, not {text[name]!r}.")
    return value in _TRUE


def _count(name: str, text: Mapping[str, str], default: int, least: int, most: int | None = None) -> int:
    if not text[name]:
        return default
    try:
        count = int(text[name])
    except ValueError:
        count = least - 1
    if count < least or (most is not None and count > most):
        limits = f"from {least}" if most is None else f"from {least} to {most}"
        raise ConfigurationError(
            "setting_invalid", f"{PREFIX}{name.upper()} must be a whole number {limits}, not {text[name]!r}."
        )
    return count
