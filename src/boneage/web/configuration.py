"""What an installation of the service may set, all of it by environment variables; `settings` makes Django's of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from boneage.errors import ConfigurationError

Mode = Literal["open", "clinic"]

PREFIX = "BONEAGE_"

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


_OTHERS = {"HOST", "PORT", "WORKERS", "ADMIN_PASSWORD", "TRACEBACK"}
"""What commands read besides the fields of `Configuration`."""


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names of variables that look like settings and are none: slips of the pen."""
    known = {PREFIX + name for name in _OTHERS | {field.upper() for field in Configuration.__dataclass_fields__}}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


@dataclass(frozen=True)
class Configuration:
    """One installation.

    Attributes:
        mode: ``open``: no accounts, radiographs and answers are deleted `open_minutes` after the answer; or ``clinic``:
            accounts with roles, a worklist, an audit log.
        store: folder of the database (SQLite) and of the secret key.
        database: URL of a PostgreSQL database; empty for SQLite in `store`.
        secret_key: of sessions and signatures; empty only where nothing is served.
        url: where users reach the service. ``https`` makes cookies secure and is demanded of every request.
        hosts: names under which it may be reached, besides that of `url` and this machine's own.
        proxy: a reverse proxy in front says by ``X-Forwarded-Proto`` and ``X-Forwarded-For`` who asks.
        bundle: name or folder.
        atlas: name or folder of reference plates.
        open_minutes: how long an answer can be seen in the mode ``open``.
        open_hourly: radiographs that one client may submit in an hour in the mode ``open``; 0 for any number.
        idle_minutes: a session ends after so long without a request of its user; at most a day.
        session_hours: a session ends so long after the login, whatever its user does; at most 30 days.
        retention_days: after so many days without a change cases are deleted in the mode ``clinic``; 0 for never.
        radiograph_bytes: largest upload of a radiograph, bytes.
        waiting: radiographs that may wait; more are turned away with ``busy``.
        lease_seconds: a worker that has not finished a radiograph by then counts as dead, and another takes it.
        attempts: so often is a radiograph tried whose workers die before it is given up (``worker_lost``).
        worker_mebibytes: memory of one worker; a radiograph that needs more fails.
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
    open_minutes: int = 30
    open_hourly: int = 120
    idle_minutes: int = 30
    session_hours: int = 12
    retention_days: int = 0
    radiograph_bytes: int = 64 * 2**20
    waiting: int = 500
    lease_seconds: int = 60
    attempts: int = 10
    worker_mebibytes: int = 4096

    @property
    def is_open(self) -> bool:
        """Whether it is served without accounts."""
        return self.mode == "open"

    @property
    def is_https(self) -> bool:
        """Whether users reach it by https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def all_hosts(self) -> list[str]:
        """Names that a request may be addressed to."""
        named = urlsplit(self.url).hostname
        return list(dict.fromkeys([*([named] if named else []), "127.0.0.1", "localhost", "[::1]", *self.hosts]))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Configuration:
        """Read ``BONEAGE_MODE``, ``BONEAGE_STORE`` and so on: the fields' names in capitals.

        Raises:
            ConfigurationError: ``setting_invalid``, naming the variable.
        """
        default = cls()
        text = {name: environment.get(PREFIX + name.upper(), "").strip() for name in cls.__dataclass_fields__}
        mode = text["mode"] or default.mode
        if mode not in {"open", "clinic"}:
            raise ConfigurationError("setting_invalid", f"BONEAGE_MODE must be open or clinic, not {mode!r}.")
        url = text["url"] or default.url
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ConfigurationError(
                "setting_invalid", f"BONEAGE_URL must begin with http:// or https://, not {url!r}."
            )
        if text["database"] and urlsplit(text["database"]).scheme not in {"postgresql", "postgres"}:
            raise ConfigurationError("setting_invalid", "BONEAGE_DATABASE must begin with postgresql://.")
        return cls(
            mode="open" if mode == "open" else "clinic",
            store=Path(text["store"] or default.store).expanduser(),
            database=text["database"],
            secret_key=text["secret_key"],
            url=url,
            hosts=tuple(host.strip() for host in text["hosts"].split(",") if host.strip()),
            proxy=_flag("proxy", text),
            bundle=text["bundle"] or default.bundle,
            atlas=text["atlas"] or default.atlas,
            open_minutes=_count("open_minutes", text, default.open_minutes, 1),
            open_hourly=_count("open_hourly", text, default.open_hourly, 0),
            idle_minutes=_count("idle_minutes", text, default.idle_minutes, 1, 1440),
            session_hours=_count("session_hours", text, default.session_hours, 1, 720),
            retention_days=_count("retention_days", text, default.retention_days, 0),
            radiograph_bytes=_count("radiograph_bytes", text, default.radiograph_bytes, 1024),
            waiting=_count("waiting", text, default.waiting, 1),
            lease_seconds=_count("lease_seconds", text, default.lease_seconds, 1),
            attempts=_count("attempts", text, default.attempts, 1),
            worker_mebibytes=_count("worker_mebibytes", text, default.worker_mebibytes, 1024),
        )


def _flag(name: str, text: Mapping[str, str]) -> bool:
    said = text[name].lower()
    if said not in _TRUE | _FALSE:
        raise ConfigurationError("setting_invalid", f"{PREFIX}{name.upper()} must be 1 or 0, not {text[name]!r}.")
    return said in _TRUE


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
