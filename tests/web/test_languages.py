"""Every text of the service in every language, and the tool that keeps it so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from click.testing import CliRunner
from django.conf import settings as django_settings
from django.test import Client
from django.utils.translation import gettext, override
from pytest_django.fixtures import Settings

from boneage import words
from boneage.schema import WarningDocument
from boneage.severity import Severity
from boneage.warnings_ import WARNING_TEXTS
from boneage.web.languages import languages
from boneage.web.models import Assessment
from boneage.words import LOCALE
from tests.programs import load_program
from tests.web.warned import WARNING_VALUES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent.parent.name for path in LOCALE.glob("*/LC_MESSAGES/django.po"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program("tools/languages.py")


@pytest.fixture(scope="module")
def source(tool: ModuleType) -> Catalog:
    catalogue = tool.extracted()
    assert isinstance(catalogue, Catalog)
    return catalogue


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the catalogues, compiled as the build does it."""
    folder = tmp_path_factory.mktemp("locale")
    for name in FOLDERS:
        target = folder / name / "LC_MESSAGES"
        target.mkdir(parents=True)
        shutil.copy(LOCALE / name / "LC_MESSAGES" / "django.po", target)
    written = load_program("setup.py").compile_catalogues(folder)
    assert len(written) == len(FOLDERS)
    return folder


@pytest.fixture
def spoken(settings: Settings, compiled: Path) -> Iterator[None]:
    """The service as it is after the build."""
    settings.LOCALE_PATHS = [compiled]
    yield


# --- the catalogues ---------------------------------------------------------------------------------------------------


def test_languages_lists_six() -> None:
    """The six languages are there."""
    assert {"en", "pt-br", "es", "fr", "de", "zh-hans"} <= {code for code, _ in languages()}
    assert [code for code, _ in django_settings.LANGUAGES] == [code for code, _ in languages()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_catalogues_have_no_problems(tool: ModuleType, source: Catalog, folder: str) -> None:
    """Nothing is missing fuzzy stale or wrong."""
    assert tool.problems(LOCALE / folder / "LC_MESSAGES" / "django.po", source) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_update_changes_nothing(tool: ModuleType, source: Catalog, folder: str) -> None:
    """Update has nothing to change."""
    path = LOCALE / folder / "LC_MESSAGES" / "django.po"
    assert tool.updated(path, source).decode() == path.read_text(encoding="utf-8")


def test_templates_have_no_plain_text(tool: ModuleType, source: Catalog) -> None:
    """Every text of the pages goes through gettext."""
    assert tool.source_problems(source) == []


# --- the tool ---------------------------------------------------------------------------------------------------------


def texts_of(catalogue: Catalog) -> set[str]:
    return {message.id if isinstance(message.id, str) else message.id[0] for message in catalogue if message.id}


def test_extracted_covers_all_sources(source: Catalog) -> None:
    """Texts come from python from templates and from the core."""
    texts = texts_of(source)
    assert "No hand was found on this radiograph." in texts  # marked
    assert "Skip to the content" in texts  # translate
    assert "%(count)d year" in texts  # ngettext
    assert (
        "Nothing is stored permanently: radiographs are deleted as soon as the result is ready, "
        "results after %(minutes)s minute." in texts
    )  # blocktranslate
    assert "Reader" in texts  # gettext_lazy
    assert "carpal bones" in texts
    assert set(WARNING_TEXTS.values()) <= texts


@pytest.fixture
def german(tool: ModuleType, source: Catalog, tmp_path: Path) -> Path:
    """A finished catalogue of a few messages, and where it lies."""
    path: Path = tmp_path / "de" / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True)
    return path


def small_source() -> Catalog:
    catalogue = Catalog(charset="utf-8")
    catalogue.add("Reader", locations=[("a.py", 1)])
    catalogue.add("Reason: %(reason)s", locations=[("a.py", 2)])
    catalogue.add(("%(count)d year", "%(count)d years"), locations=[("a.py", 3)])
    catalogue.add("The file says {part!r}, {age:.0f} months", locations=[("b.py", 4)])
    return catalogue


RIGHT: dict[str, str | tuple[str, str]] = {
    "Reader": "Befunder",
    "Reason: %(reason)s": "Grund: %(reason)s",
    "%(count)d year": ("%(count)d Jahr", "%(count)d Jahre"),
    "The file says {part!r}, {age:.0f} months": "{age:.0f} Monate, sagt die Datei: {part!r}",
}


def write(path: Path, translations: dict[str, str | tuple[str, str]]) -> Catalog:
    catalogue = Catalog(locale="de", domain="django", charset="utf-8")
    for message in small_source():
        if message.id:
            first = message.id if isinstance(message.id, str) else message.id[0]
            catalogue.add(message.id, translations.get(first, ""), locations=message.locations)
    with path.open("wb") as file:
        write_po(file, catalogue)
    return catalogue


def test_update_keeps_finished_catalogue(tool: ModuleType, german: Path) -> None:
    """A finished catalogue is left alone."""
    write(german, RIGHT)
    assert tool.problems(german, small_source()) == []
    once = tool.updated(german, small_source())
    german.write_bytes(once)
    assert tool.updated(german, small_source()) == once
    assert tool.problems(german, small_source()) == []
    assert b"POT-Creation-Date" not in once


@pytest.mark.parametrize(
    ("text", "wrong", "complaint"),
    [
        ("Reader", "", "missing"),
        ("%(count)d year", ("%(count)d Jahr", ""), "missing"),
        ("Reason: %(reason)s", "Grund", "other placeholders"),
        ("Reason: %(reason)s", "Grund: %(Grund)s", "other placeholders"),
        ("Reason: %(reason)s", "Grund: %(reason)d", "other placeholders"),
        ("%(count)d year", ("ein Jahr", "%(count)d Jahre"), "other placeholders"),
        ("The file says {part!r}, {age:.0f} months", "{part} {age:.0f}", "other placeholders"),
        ("The file says {part!r}, {age:.0f} months", "{part!r} {age:.0f} {age:.0f}", "other placeholders"),
        ("Reader", "Befunder ", "other space"),
    ],
)
def test_problems_names_each_fault(
    tool: ModuleType, german: Path, text: str, wrong: str | tuple[str, str], complaint: str
) -> None:
    """Each fault is named."""
    write(german, {**RIGHT, text: wrong})
    [problem] = tool.problems(german, small_source())
    assert problem.startswith(f"de: {complaint}")
    assert text in problem


def test_problems_names_new_old_and_similar_texts(tool: ModuleType, german: Path) -> None:
    """New old and similar texts are named."""
    write(german, RIGHT)
    moved = small_source()
    moved.delete("Reader")
    moved.add("Reason given: %(reason)s", locations=[("a.py", 2)])
    moved.delete("Reason: %(reason)s")
    text = " ".join(tool.problems(german, moved))
    assert "stale: 'Reader'" in text
    assert "stale: 'Reason: %(reason)s'" in text
    assert "missing: 'Reason given: %(reason)s'" in text
    german.write_bytes(tool.updated(german, moved))
    assert [one.split(":")[1] for one in tool.problems(german, moved)] == [" fuzzy"]


@pytest.mark.parametrize("damaged", ["msgid 5\n", 'msgid "a"\nmsgstr[3] "b"\n', 'nonsense "a"\n'])
def test_problems_names_file_that_does_not_compile(tool: ModuleType, german: Path, damaged: str) -> None:
    """A file that does not compile is named."""
    write(german, RIGHT)
    german.write_text(german.read_text(encoding="utf-8") + "\n" + damaged, encoding="utf-8")
    assert tool.problems(german, small_source())


@pytest.mark.parametrize(
    ("template", "is_reported"),
    [
        ("<p>Hello</p>", True),
        ('<img alt="A hand">', True),
        ("<p>{% translate 'x' %} years</p>", True),
        ("<p>{% translate 'Hello' %} · {{ age }} &nbsp; 12 DICOM</p>", False),
        ("{% blocktranslate trimmed %}Hello {{ a }}{% endblocktranslate %}", False),
        ("{# a note #}{% comment %}one{% endcomment %}<!-- two -->", False),
        ('<cite translate="no">Radiology 2019</cite>', False),
        ('<p class="some class">{% if a %}{{ b }}{% endif %}</p>', False),
    ],
)
def test_hard_coded_texts_are_found(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, template: str, is_reported: bool
) -> None:
    """Words beside gettext are found."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text(template)
    monkeypatch.setattr(tool, "WEB", tmp_path)
    assert bool(tool.hard_coded_texts()) == is_reported


def test_add_creates_catalogue(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A language is added by one command."""
    monkeypatch.setattr(tool, "path_of", lambda code: tmp_path / tool.to_locale(code) / "LC_MESSAGES" / "django.po")
    assert CliRunner().invoke(tool.main, ["add", "it"]).exit_code == 0
    path = tmp_path / "it" / "LC_MESSAGES" / "django.po"
    with path.open("rb") as file:
        assert texts_of(read_po(file, locale="it")) == texts_of(tool.extracted())
    assert languages(tmp_path) == [("en", "English"), ("it", "Italiano")]
    assert "already exists" in CliRunner().invoke(tool.main, ["add", "it"]).output
    assert "not a language" in CliRunner().invoke(tool.main, ["add", "xx"]).output


def test_tool_runs_alone() -> None:
    """The tool runs by itself."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "languages.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert {"add", "check", "compile", "update"} <= set(done.stdout.split())


# --- as they are read -------------------------------------------------------------------------------------------------

AGES = {
    "pt-br": "7 anos e 10 meses",
    "es": "7 años y 10 meses",
    "fr": "7 ans et 10 mois",
    "de": "7 Jahre 10 Monate",
    "zh-hans": "7岁10个月",
}
MONTHS = {"pt-br": "94,5 meses", "es": "94,5 meses", "fr": "94,5 mois", "de": "94,5 Monate", "zh-hans": "94.5个月"}


@pytest.mark.parametrize("code", AGES)
def test_ages_and_numbers_are_localised(spoken: None, code: str) -> None:
    """Ages and numbers have their local form."""
    with override(code):
        assert words.age(94) == AGES[code]
        assert words.months(94.5) == MONTHS[code]


@pytest.mark.parametrize("code", [code for code, _ in languages() if code != "en"])
def test_warning_fills_every_text_of_the_core(spoken: None, code: str) -> None:
    """Every warning of the core can be filled in."""
    with override(code):
        for key, english in WARNING_TEXTS.items():
            document = WarningDocument(
                code="x", severity=Severity.INFO, message="", template=key, values=WARNING_VALUES
            )
            sentence = words.warning(document)
            assert sentence != english.format(**WARNING_VALUES)
            assert "{" not in sentence


@pytest.mark.django_db
@pytest.mark.parametrize("code", [code for code, _ in languages()])
def test_language_from_browser_or_menu(
    open_mode: None, spoken: None, client: Client, done_assessment: Callable[..., Assessment], code: str
) -> None:
    """The browser or the menu chooses."""
    address = f"/assessments/{done_assessment().pk}/report/"
    by_browser = client.get(address, headers={"accept-language": code}).content.decode()
    client.post("/language", {"language": code, "next": "/"})
    by_menu = client.get(address, headers={"accept-language": "xx"}).content.decode()
    with override(code):
        title = gettext("Bone age report")
    for page in (by_browser, by_menu):
        assert f'<html lang="{code}"' in page
        assert f">{title}</h1>" in page
    if code != "en":
        assert "Bone age report" not in by_browser
