"""The environment becomes the configuration or one clear line, and the operator's page lists every variable."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import ConfigurationError
from boneage.web.configuration import PREFIX, Configuration, unknown_variables

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
COUNTS = {
    "open_minutes": 1,
    "open_hourly": 0,
    "retention_days": 0,
    "radiograph_bytes": 1024,
    "waiting": 1,
    "lease_seconds": 1,
    "attempts": 1,
    "worker_mebibytes": 1024,
}
"""Whole numbers by name, with the least that each may be."""

LIMITED = {"idle_minutes": (1, 1440), "lock_minutes": (0, 1440), "session_hours": (1, 720)}
"""The same with the most that each may be as well."""


def read(**variables: str) -> Configuration:
    return Configuration.from_environment({PREFIX + name.upper(): text for name, text in variables.items()})


def test_empty_environment_gives_defaults() -> None:
    """An empty environment gives the defaults."""
    assert read() == Configuration()
    assert read(**{field.name: "  " for field in fields(Configuration)}) == Configuration()


@pytest.mark.parametrize(("name", "limits"), LIMITED.items())
def test_numbers_above_limit(name: str, limits: tuple[int, int]) -> None:
    """Some numbers have an upper limit."""
    for count in limits:
        assert getattr(read(**{name: str(count)}), name) == count
    for count in (limits[0] - 1, limits[1] + 1):
        with pytest.raises(ConfigurationError, match=f"from {limits[0]} to {limits[1]}"):
            read(**{name: str(count)})


def test_numbers_are_all_tested() -> None:
    """Every number is tested here."""
    assert set(COUNTS) | set(LIMITED) == {field.name for field in fields(Configuration) if field.type == "int"}


@pytest.mark.parametrize("name", COUNTS)
@given(count=st.integers(-3000, 10**9))
def test_numbers_from_minimum(name: str, count: int) -> None:
    """Numbers are taken from their least on."""
    if count >= COUNTS[name]:
        assert getattr(read(**{name: f" {count} "}), name) == count
    else:
        with pytest.raises(ConfigurationError, match=rf"{PREFIX}{name.upper()} .*{COUNTS[name]}") as caught:
            read(**{name: str(count)})
        assert caught.value.code == "setting_invalid"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mode", "closed"),
        ("mode", "Open"),
        ("url", "example.org"),
        ("url", "ftp://example.org"),
        ("url", "https://"),
        ("proxy", "maybe"),
        ("waiting", "many"),
        ("waiting", "1.5"),
        ("attempts", "٣x"),
        ("reference", "tanner"),
    ],
)
def test_invalid_values_name_variable(name: str, text: str) -> None:
    """An unusable value is rejected by its name."""
    with pytest.raises(ConfigurationError) as caught:
        read(**{name: text})
    assert caught.value.code == "setting_invalid"
    assert PREFIX + name.upper() in caught.value.message
    assert text in caught.value.message


def test_database_url_hides_password() -> None:
    """A database is PostgreSQL, and its password is not printed."""
    assert read(database="postgresql://me:word@host/name").database == "postgresql://me:word@host/name"
    with pytest.raises(ConfigurationError) as caught:
        read(database="mysql://me:word@host/name")
    assert caught.value.code == "setting_invalid"
    assert "word" not in caught.value.message


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("YES", True), ("on", True), ("0", False), ("No", False)])
def test_flags(text: str, meant: bool) -> None:
    assert read(proxy=text).proxy is meant


def test_https() -> None:
    """A service behind https."""
    configuration = read(
        mode="clinic", url="https://bones.example.org", hosts="bones, 10.0.0.5 ,", store="~/radiographs"
    )
    assert (configuration.is_open, configuration.is_https) == (False, True)
    assert configuration.all_hosts == ["bones.example.org", "127.0.0.1", "localhost", "[::1]", "bones", "10.0.0.5"]
    assert configuration.store == Path("~/radiographs").expanduser()
    assert not read().is_https


def test_docs_list_every_setting() -> None:
    """The page for operators lists every setting with its default."""
    listed = dict(re.findall(r"^\| `BONEAGE_(\w+)` \|([^|]*)\|", PAGE, flags=re.MULTILINE))
    defaults = {field.name.upper(): getattr(Configuration(), field.name) for field in fields(Configuration)}
    variables = {name: listed[name].strip().strip("`") for name in defaults if name in listed}
    assert variables == {name: _written(value) for name, value in defaults.items()}
    assert set(listed) - set(defaults) == {"HOST", "PORT", "WORKERS", "ADMIN_PASSWORD", "PROVIDER"}


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value == () else str(value)


def test_unknown_variables() -> None:
    """A slip of the pen is noticed."""
    every = {f"BONEAGE_{name.upper()}": "" for name in Configuration.__dataclass_fields__}
    others = {"BONEAGE_HOST": "", "BONEAGE_WORKERS": "2", "HOME": "/", "BONEAGE_ADMIN_PASSWORD": ""}
    assert unknown_variables({**every, **others}) == []
    assert unknown_variables({**every, "BONEAGE_MOOD": "clinic"}) == ["BONEAGE_MOOD"]


SIGN_ON = {
    "oidc_issuer": "https://login.example.org/realms/hospital",
    "oidc_client_id": "boneage",
    "oidc_client_secret": "secret",
    "readers": "staff, nurses",
    "administrators": "admins",
}


def test_sign_on() -> None:
    """Single sign-on with its defaults."""
    configuration = read(**SIGN_ON, emergency_administrator="anna")
    assert configuration.has_sign_on
    assert configuration.readers == ("staff", "nurses")
    assert configuration.reviewers == ()
    assert configuration.oidc_scopes == "openid profile"
    assert configuration.emergency_administrator == "anna"
    assert not read().has_sign_on
    assert read(**{**SIGN_ON, "oidc_issuer": "http://127.0.0.1:8080"}).has_sign_on


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"oidc_issuer": ""}, "BONEAGE_OIDC_ISSUER is missing"),
        ({"oidc_client_id": ""}, "BONEAGE_OIDC_CLIENT_ID is missing"),
        ({"oidc_client_secret": ""}, "BONEAGE_OIDC_CLIENT_SECRET is missing"),
        ({"readers": "", "administrators": " , "}, "BONEAGE_READERS"),
        ({"oidc_issuer": "http://login.example.org"}, "must begin with https://"),
        ({"oidc_issuer": "login.example.org"}, "must begin with https://"),
        ({"oidc_scopes": "profile"}, "must contain openid"),
        ({"oidc_reader": "staff"}, "BONEAGE_OIDC_READER does not exist"),
    ],
)
def test_half_sign_on_is_rejected(changes: dict[str, str], named: str) -> None:
    """Incomplete, unknown and unsafe settings of single sign-on are rejected, without the secret."""
    with pytest.raises(ConfigurationError, match=named) as caught:
        read(**{**SIGN_ON, **changes})
    assert caught.value.code == "setting_invalid"
    assert "secret" not in caught.value.message.lower().replace("client_secret", "")


HEADER_LOGIN = {
    "mode": "clinic",
    "header_user": "X-Remote-User",
    "header_proxies": "10.0.0.7, 10.1.0.0/24",
    "readers": "staff",
}


def test_header_login() -> None:
    """Login by a proxy with its defaults; it is off by default."""
    configuration = read(**HEADER_LOGIN)
    assert configuration.has_header_login
    assert configuration.header_groups == "X-Remote-Groups"
    assert configuration.header_proxies == ("10.0.0.7", "10.1.0.0/24")
    assert not read().has_header_login


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"header_user": ""}, "BONEAGE_HEADER_USER is missing"),
        ({"header_proxies": ""}, "BONEAGE_HEADER_PROXIES is missing"),
        ({"header_proxies": "proxy.example.org"}, "must hold IP addresses"),
        ({"header_proxies": "0.0.0.0/0"}, "must hold IP addresses"),
        ({"header_user": "X_Remote_User"}, "must be a header of its own"),
        ({"header_user": "Authorization"}, "must be a header of its own"),
        ({"header_groups": "x-remote-user"}, "must differ"),
        ({"header_logout": "javascript:alert(1)"}, "must begin with / or https"),
        ({"header_proxy": "10.0.0.7"}, "BONEAGE_HEADER_PROXY does not exist"),
        ({"readers": ""}, "needs BONEAGE_READERS"),
        ({"mode": "open"}, "needs BONEAGE_MODE=clinic"),
        (SIGN_ON, "exclude each other"),
    ],
)
def test_half_header_login_is_rejected(changes: dict[str, str], named: str) -> None:
    """Incomplete, unknown and unsafe settings of the login by a proxy are rejected."""
    with pytest.raises(ConfigurationError, match=named):
        read(**{**HEADER_LOGIN, **changes})


def test_departments_need_accounts(tmp_path: Path) -> None:
    """Departments have users, which the mode open has not; a fault of their file is reported at the start."""
    path = tmp_path / "departments.toml"
    path.write_text('[[department]]\nname = "trauma"\n', encoding="utf-8")
    assert read(mode="clinic", departments=str(path)).department_list.names == ("trauma",)
    assert not read(mode="clinic").department_list
    with pytest.raises(ConfigurationError, match="needs BONEAGE_MODE=clinic"):
        read(departments=str(path))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(mode="clinic", departments=str(tmp_path / "none.toml"))


def test_emergency_administrator_needs_sign_on() -> None:
    """An emergency administrator without single sign-on would lock everybody else out."""
    with pytest.raises(ConfigurationError, match="needs single sign-on"):
        read(emergency_administrator="anna")


def test_second_factor_names_roles() -> None:
    """A second factor is required for roles."""
    assert read(second_factor="reviewer, administrator").second_factor == ("reviewer", "administrator")
    with pytest.raises(ConfigurationError, match="BONEAGE_SECOND_FACTOR must name roles"):
        read(second_factor="physician")
