"""Headers, cookies, forms of other sites, foreign hosts, inline script, logs, and Django's check of a deployment."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, path, reverse
from pytest_django.fixtures import Settings

import boneage.web
from boneage.errors import RecipeError
from boneage.web import urls as real_urls
from boneage.web.api.operations import api as web_api
from boneage.web.models import ApiToken, Assessment, Case, Role, User
from boneage.web.privacy import WithoutMessages
from boneage.web.urls import handler400, handler403, handler404, handler500  # noqa: F401 - urlpatterns of this module

ROOM = Path(boneage.web.__file__).parent
REFERENCE = "SMITH^JOHN 4711"


# --- as deployed ------------------------------------------------------------------------------------------------------

_DEPLOYED = """
import json, django
django.setup()
from django.core.management import call_command
from django.templatetags.static import static
from django.test import Client
call_command("check", deploy=True, fail_level="WARNING")
call_command("migrate", verbosity=0)
from boneage.web.accounts.setup import create_administrator
create_administrator("ada", "correct horse battery")
found = {}
plain = Client(enforce_csrf_checks=True)
answer = plain.get("/account/login", headers={"Host": "bones.example"})
found["redirect"] = [answer.status_code, answer.get("Location")]
found["health"] = plain.get("/health", headers={"Host": "bones.example"}).status_code
client = Client(enforce_csrf_checks=True)
safe = {"secure": True, "headers": {"Host": "bones.example", "Referer": "https://bones.example/account/login"}}
page = client.get("/account/login", **safe)
found["headers"] = {name.lower(): value for name, value in page.items()}
token = page.content.decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
form = {"username": "ada", "password": "correct horse battery", "csrfmiddlewaretoken": token}
foreign = {**safe, "headers": {**safe["headers"], "Origin": "https://evil.example"}}
found["foreign"] = client.post("/account/login", form, **foreign).status_code
answer = client.post("/account/login", form, **safe)
found["login"] = answer.status_code
token = client.cookies["__Host-csrf"].value  # another one since the login
found["language"] = client.post("/language", {"language": "de", "csrfmiddlewaretoken": token}, **safe).status_code
found["cookies"] = {
    name: [cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]]
    for name, cookie in client.cookies.items()
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Behaviour of a service at an https address, in a process of its own: settings are read when it starts."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BONEAGE_")} | {
        "DJANGO_SETTINGS_MODULE": "boneage.web.settings",
        "BONEAGE_STORE": str(tmp_path_factory.mktemp("store")),
        "BONEAGE_URL": "https://bones.example/",
        "BONEAGE_MODE": "clinic",
        "BONEAGE_SECRET_KEY": "a long secret of 71 different characters: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    }
    done = subprocess.run(
        [sys.executable, "-c", _DEPLOYED], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_https_redirect_except_health(deployed: dict[str, Any]) -> None:
    """Everything but the health check is sent to https."""
    assert deployed["redirect"] == [301, "https://bones.example/account/login"]
    assert deployed["health"] == 200


def test_https_headers(deployed: dict[str, Any]) -> None:
    """An answer by https carries every header."""
    headers = deployed["headers"]
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    assert "upgrade-insecure-requests" in headers["content-security-policy"]
    assert "no-store" in headers["cache-control"]
    for name, value in {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }.items():
        assert headers[name] == value


def test_cookies_are_bound_to_host(deployed: dict[str, Any]) -> None:
    """Cookies are bound to this host and out of reach of scripts."""
    assert deployed["login"] == deployed["language"] == 302
    cookies = deployed["cookies"]
    assert {"__Host-session", "__Host-csrf", "__Host-language"} <= set(cookies)
    for name, cookie in cookies.items():
        assert name == "messages" or name.startswith("__Host-")
        assert cookie[:2] == [True, True], name
        assert cookie[3:] == ["/", ""], name
    assert {cookies[name][2] for name in ("__Host-session", "__Host-csrf", "__Host-language")} == {"Strict"}


def test_cross_site_form_is_rejected(deployed: dict[str, Any]) -> None:
    """A form from another site is rejected."""
    assert deployed["foreign"] == 403


# --- pages ------------------------------------------------------------------------------------------------------------


def test_csp_allows_own_files_only(open_mode: None, client: Client, db: None) -> None:
    """The policy lets no script and no style in but our files."""
    for address, status in (("/about/", 200), ("/nowhere", 404), (reverse("api:openapi-json"), 200)):
        answer = client.get(address)
        assert answer.status_code == status
        policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert answer["Cache-Control"] == "no-store"
        assert "camera=()" in answer["Permissions-Policy"]


_INLINE = {
    "a script": re.compile(r"<script(?![^>]*\ssrc=)(?![^>]*type=\"application/json\")[^>]*>", re.IGNORECASE),
    "a style": re.compile(r"<style|\sstyle=", re.IGNORECASE),
    "a handler": re.compile(r"<[a-z][^<>]*\son[a-z]+=", re.IGNORECASE),
    "an address that runs": re.compile(r"(?:href|src|action)=[\"']?\s*(?:javascript|data):", re.IGNORECASE),
    "htmx code": re.compile(r"hx-(?:on|vals=[\"']?js:|headers=[\"']?js:)", re.IGNORECASE),
    "an address elsewhere": re.compile(
        r"(?:src|srcset|<link[^>]*href|action|hx-[a-z]+)=[\"']?(?:https?:)?//", re.IGNORECASE
    ),
}


def inline(text: str) -> list[str]:
    return [kind for kind, pattern in _INLINE.items() if pattern.search(text)]


@pytest.mark.parametrize("template", sorted((ROOM / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_inline_code(template: Path) -> None:
    """No template has code of its own."""
    assert inline(template.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<script>x</script>", "a script"),
        ("<p style='x'>", "a style"),
        ('<p onclick="x">', "a handler"),
        ("<a href='javascript:x'>", "an address that runs"),
        ('<a hx-on:click="x">', "htmx code"),
        ('<img src="//cdn.example/x">', "an address elsewhere"),
    ],
)
def test_inline_code_is_detected(text: str, kind: str) -> None:
    """Code in a page would be seen."""
    assert kind in inline(text)


def test_api_docs_have_no_inline_code(open_mode: None, client: Client, db: None) -> None:
    """The description of the api is a page without code too."""
    page = client.get(reverse("api:openapi-view"))
    assert page.status_code == 200
    assert inline(page.content.decode()) == []


_ELSEWHERE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]", re.IGNORECASE)


@pytest.mark.parametrize(
    "file",
    sorted([*ROOM.rglob("static/web/**/*.js"), *ROOM.rglob("static/web/**/*.css")]),
    ids=lambda path: path.name,
)
def test_static_files_ask_no_other_server(file: Path) -> None:
    """No script or style asks another server."""
    text = file.read_text(encoding="utf-8")
    assert not _ELSEWHERE.search(text)
    assert not re.search(r"\beval\(|new Function\(|document\.write\(|insertAdjacentHTML|\.outerHTML\s*=", text)


def test_foreign_host_is_rejected(open_mode: None, client: Client, db: None) -> None:
    """A foreign host is rejected and a forwarded one ignored."""
    assert client.get("/about/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/about/", headers={"X-Forwarded-Host": "evil.example"}).status_code == 200
    assert "*" not in django_settings.ALLOWED_HOSTS


def _addresses(patterns: list[URLPattern | URLResolver], so_far: str = "/") -> Iterator[str]:
    for pattern in patterns:
        whole = so_far + str(pattern.pattern)
        if whole in ("/api/", "/dicom-web/studies"):
            continue  # programs have tokens, and no cookie counts
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, whole)
        else:
            yield re.sub(r"<(\w+):\w+>", lambda kind: _VALUES[kind[1]], whole)


_VALUES = {"uuid": "3f0c0e4a-0000-4000-8000-000000000000", "int": "1", "str": "F-094", "path": "x"}
ADDRESSES = list(_addresses(get_resolver("boneage.web.urls").url_patterns))


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["open_mode", "clinic"])
def test_forms_need_token(request: pytest.FixtureRequest, mode: str) -> None:
    """Every form needs the token of its page."""
    request.getfixturevalue(mode)
    client = Client(enforce_csrf_checks=True)
    assert len(ADDRESSES) > 20
    for address in ADDRESSES:
        assert client.post(address).status_code == 403, address


@pytest.mark.django_db
def test_clinic_pages_need_login(clinic: None, client: Client) -> None:
    """In a clinic strangers see the login and little else."""
    case = Case.objects.create(reference=REFERENCE, sex="F")
    public = {"/account/login": 200, "/about/": 200, "/health": 200, "/account/logout": 405, "/language": 302}
    public |= dict.fromkeys(("/health/ready", "/health/live", "/metrics"), 200)
    public |= {"/account/sign-on": 404, "/account/sign-on/return": 404}  # not configured
    for address in ADDRESSES:
        answer = client.get(address.replace(_VALUES["uuid"], str(case.pk)))
        if address not in public and answer.status_code != 405:
            assert (answer.status_code, str(answer.get("Location", ""))[:14]) == (302, "/account/login"), address
        assert REFERENCE not in answer.content.decode(errors="replace"), address


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["open_mode", "clinic"])
def test_responses_are_not_cached(
    request: pytest.FixtureRequest, mode: str, done_assessment: Callable[..., Assessment]
) -> None:
    """Whatever an address answers, with a patient's data, an error or a redirection."""
    request.getfixturevalue(mode)
    is_clinic = mode == "clinic"
    case = Case.objects.create(reference=REFERENCE, sex="F") if is_clinic else None
    user = User.objects.create_user("ada", role=Role.ADMINISTRATOR) if is_clinic else None
    assessment = done_assessment(case=case, submitted_by=user)
    client = Client()
    api = {}
    if user is not None:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        api = {"Authorization": f"Bearer {ApiToken.issue(user, 'tests')[1]}"}
    below_api = [path.replace("{assessment_id}", str(assessment.pk)) for path in web_api.get_openapi_schema()["paths"]]
    ours = [address.replace(_VALUES["uuid"], str(assessment.pk)) for address in ADDRESSES]
    cases = [f"/cases/{case.pk}/", "/cases/export.csv"] if case is not None else []
    kinds = set()
    for address in [*ours, *cases, *below_api]:
        answer = client.get(address, headers=api if address.startswith("/api/") else {})
        kinds.add(answer.get("Content-Type", "").split(";")[0])
        is_plate = answer.status_code == 200 and "/atlas/" in address and address != "/atlas/"
        assert ("no-store" in answer["Cache-Control"]) is not is_plate, address
    assert {"text/html", "application/json", "image/jpeg", "image/png", "application/pdf", "text/csv"} <= kinds


@pytest.mark.django_db
def test_static_files_are_cached(open_mode: None, client: Client) -> None:
    """Static files may be kept."""
    answer = client.get(static("web/site.css"))
    assert (answer.status_code, "max-age=31536000" in answer["Cache-Control"]) == (200, True)
    answer.close()


@pytest.mark.django_db
def test_pages_have_logout(clinic: None, log_in: Callable[..., Client]) -> None:
    """Every page has a way to log out."""
    client = log_in(Role.ADMINISTRATOR)
    pages = 0
    for address in ADDRESSES:
        answer = client.get(address)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            assert f'action="{reverse("logout")}"' in answer.content.decode(), address
            pages += 1
    assert pages >= 7


@pytest.mark.django_db
def test_no_default_account() -> None:
    """No account comes with the service."""
    assert not User.objects.exists()  # after all migrations


def test_requirements_name_existing_tests() -> None:
    """The table of requirements names tests that exist."""
    table = (Path(__file__).parents[2] / "docs/service-safety.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", table))
    written = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    assert len(named) > 30
    assert [name for name in sorted(named) if f"def {name}(" not in written] == []


# --- logs -------------------------------------------------------------------------------------------------------------


def _fails(request: HttpRequest) -> HttpResponse:
    reference = request.POST["reference"]
    logging.getLogger("boneage.web.somewhere").info("a view begins")
    try:
        raise IntegrityError(f"Key (reference)=({reference}) already exists.")
    except IntegrityError as error:
        raise ValueError(f"{reference!r} is no number") from error


urlpatterns = [path("fails", _fails), *real_urls.urlpatterns]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The service's log, as its own handler writes it."""
    (console,) = [
        one_handler
        for one_handler in logging.getLogger().handlers
        if isinstance(one_handler.formatter, WithoutMessages)
    ]
    assert isinstance(console, logging.StreamHandler)
    stream = io.StringIO()
    usual = console.setStream(stream)
    yield stream
    console.setStream(usual)


@pytest.mark.django_db
def test_failing_view_logs_no_form(
    open_mode: None, settings: Settings, log: io.StringIO, mailoutbox: list[Any]
) -> None:
    """A failing view does not log the content of the form."""
    settings.ROOT_URLCONF = __name__
    settings.ADMINS = [("Ada", "ada@example.org")]
    client = Client(raise_request_exception=False, headers={"Cookie": f"reference={REFERENCE}"})
    answer = client.post("/fails", {"reference": REFERENCE}, headers={"X-Reference": REFERENCE})
    assert answer.status_code == 500
    written = log.getvalue()
    for expected in ("a view begins", "POST /fails: 500", "in _fails", "IntegrityError", "ValueError"):
        assert expected in written
    assert REFERENCE not in written + answer.content.decode()
    assert not mailoutbox


@pytest.mark.django_db
def test_unknown_address_is_not_logged(open_mode: None, client: Client, log: io.StringIO) -> None:
    """An unknown address is not logged."""
    assert client.get(f"/cases/{REFERENCE}/", {"reference": REFERENCE}).status_code == 404
    client.post("/account/login", {"username": REFERENCE})
    assert "SMITH" not in log.getvalue()


@pytest.mark.parametrize("path", ["/fails", "/no%0d%0a2026-01-01%20ERROR%20forged/SMITH"])
@pytest.mark.parametrize("host", ["SMITH^JOHN", "a\nforged line", "127.0.0.1"])
@pytest.mark.django_db
def test_unexpected_host_is_not_logged(
    open_mode: None, settings: Settings, log: io.StringIO, path: str, host: str
) -> None:
    """Unexpected path or host is not logged as sent."""
    settings.ROOT_URLCONF = __name__
    client = Client(raise_request_exception=False, headers={"Host": host})
    answer = client.generic("SMITH", path)
    assert answer.status_code == (400 if host != "127.0.0.1" else 500 if path == "/fails" else 404)
    written = log.getvalue()
    assert "SMITH" not in written
    assert "forged" not in written
    if host != "127.0.0.1":
        assert written.endswith("a request was turned away: DisallowedHost\n")


def test_log_lines_cannot_be_forged(log: io.StringIO) -> None:
    """A line of the log cannot be forged."""
    logging.getLogger("boneage").error("it failed: %s", "a\n2026-01-01 ERROR forged\x1b[2J\u2028")
    (line,) = log.getvalue().splitlines()
    assert line.endswith(r"it failed: a\n2026-01-01 ERROR forged\x1b[2J\u2028")


@pytest.mark.django_db
def test_mistyped_login_is_not_logged(clinic: None, client: Client, log: io.StringIO) -> None:
    """A mistyped login is not logged."""
    for _ in range(6):
        client.post(reverse("login"), {"username": REFERENCE, "password": REFERENCE})
    assert "SMITH" not in log.getvalue()


def test_own_errors_log_their_codes(log: io.StringIO) -> None:
    """The package's own errors are logged by their codes."""
    try:
        raise RecipeError("recipe_changed", REFERENCE)
    except RecipeError:
        logging.getLogger("boneage").exception("it failed")
    assert "RecipeError [recipe_changed]" in log.getvalue()
    assert REFERENCE not in log.getvalue()


def test_error_caused_by_itself(log: io.StringIO) -> None:
    """An error that follows from itself ends."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    logging.getLogger("boneage").error("it failed", exc_info=first)
    assert "it failed" in log.getvalue()


def test_formatter_clears_cached_message() -> None:
    """Other handlers do not leave the message to ours."""
    try:
        raise ValueError(REFERENCE)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "failed", (), sys.exc_info())
    assert REFERENCE in logging.Formatter().format(record)
    assert REFERENCE not in WithoutMessages().format(record)
    assert REFERENCE in logging.Formatter().format(record)


@pytest.mark.django_db
def test_pages_of_each_role(clinic: None, log_in: Callable[..., Client]) -> None:
    """No page of a role fails."""
    client = log_in(Role.ADMINISTRATOR)
    for name in ("account", "users", "audit"):
        page = client.get(reverse(name))
        assert page.status_code == 200
        assert inline(page.content.decode()) == []
