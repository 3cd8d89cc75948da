#!/usr/bin/env python
"""Maintain the catalogues of translations: extract the texts from the source, and check every translation.

Run `python tools/languages.py update` after a change of texts; docs/languages.md describes the next steps.
"""

from __future__ import annotations

import ast
import gettext
import importlib.util
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import click
from babel.core import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.plurals import get_plural
from babel.messages.pofile import PoFileError, read_po, write_po
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

from boneage.hand.registration import REGION_TITLES
from boneage.warnings_ import WARNING_TEXTS
from boneage.words import DOMAIN, LOCALE

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
WEB = SOURCE / "boneage" / "web"
CORE = tuple(
    SOURCE / "boneage" / name
    for name in (
        "words.py",
        "report/adult_height.py",
        "report/both_sexes.py",
        "report/comparison.py",
        "report/content.py",
        "report/facts.py",
        "report/folder_index.py",
        "report/page.py",
        "report/report.py",
    )
)
"""Modules of the core with texts that the command line, report files and the service share."""

CORE_TEXTS = {
    "boneage/hand/registration.py": tuple(REGION_TITLES.values()),
    "boneage/warnings_.py": tuple(WARNING_TEXTS.values()),
}
"""English texts of the core, which has no translations, by file. `boneage.web.texts` translates them."""

KEYWORDS = {
    **DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "marked": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
"""Functions that mark a text for translation; ``marked`` is the local name of gettext_noop."""

UNTRANSLATED_WORDS = {
    "boneage",
    "DICOM",
    "PNG",
    "JPEG",
    "TIFF",
    "PDF",
    "CSV",
    "JSON",
    "API",
    "px",
    "mm",
    "Esc",
    "UTC",
}
"""Words of templates that are the same in every language. Longer texts of this kind are in an element with HTML's
``translate="no"``."""

_HEADER = re.compile(
    r'^"(Project-Id-Version|Report-Msgid-Bugs-To|POT-Creation-Date|PO-Revision-Date|Last-Translator|'
    r'Language-Team|Generated-By):.*\n(?:"[^:"]*"\n)*',
    re.MULTILINE,
)
_PERCENT_PLACE = re.compile(r"%(?:\(\w+\)[#0\- +]*\d*(?:\.\d+)?[a-zA-Z]|%)")
_BRACE_PLACE = re.compile(r"\{[^{}]*\}")

_NO_PLAIN_TEXT = re.compile(
    r"""
    \{%\ *(blocktrans(?:late)?|comment)\b.*?\{%\ *end\1\ *%\} | \{%\ *block\ width\ *%\}.*?\{%\ *endblock\b.*?%\}
    | \{\#.*?\#\} | <!--.*?--> | <(script|style)\b.*?</\2> | <(\w+)\b[^>]*\btranslate="no".*?</\3>
    """,
    re.DOTALL | re.VERBOSE,
)
"""Parts of templates without text of their own, or with text that is checked elsewhere."""

Key = tuple[str, str]
"""Context and (singular) text of a message."""


# --- texts of the source ---------------------------------------------------------------------------------------------


def extracted() -> Catalog:
    """Return every text of the pages, with the files that contain it."""
    catalogue = Catalog(charset="utf-8")
    for path in sorted([*WEB.rglob("*.py"), *CORE]):
        _add(catalogue, path, path.read_bytes())
    for path in sorted((WEB / "templates").rglob("*.html")):
        # Lines of what was a page may begin anywhere, those of Python may not.
        lines = templatize(path.read_text(encoding="utf-8"), origin=str(path)).splitlines()
        _add(catalogue, path, "\n".join(line.strip() for line in lines).encode())
    for name, texts in CORE_TEXTS.items():
        for text in texts:
            catalogue.add(text, locations=[(name, 0)])
    return catalogue


def _add(catalogue: Catalog, path: Path, python: bytes) -> None:
    name = path.relative_to(SOURCE).as_posix()
    for line, text, comments, context in extract(
        "python", io.BytesIO(python), keywords=KEYWORDS, comment_tags=("Translators:",), options={"encoding": "utf-8"}
    ):
        catalogue.add(text, locations=[(name, line)], auto_comments=comments, context=context)


def hard_coded_texts() -> list[str]:
    """Return words of templates that do not go through gettext."""
    texts = []
    for path in sorted((WEB / "templates").rglob("*.html")):
        for text in _plain_texts(path.read_text(encoding="utf-8")):
            words = [word for word in re.findall(r"[^\W\d_]{2,}", text) if word not in UNTRANSLATED_WORDS]
            if words:
                texts.append(f"{path.name}: {' '.join(text.split())}")
    return texts


def _plain_texts(template: str) -> Iterator[str]:
    """Yield the literal parts of a template: text, and attributes that are read out."""
    bare = re.sub(_NO_PLAIN_TEXT, "", template)
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", bare, flags=re.DOTALL)
    bare = re.sub(r"&\w+;", " ", bare)
    yield from re.findall(r'\s(?:alt|title|aria-label|aria-description|placeholder)="([^"]*)"', bare)
    yield from re.sub(r"<[^>]*>", "\0", bare).split("\0")


# --- catalogues -------------------------------------------------------------------------------------------------------


def path_of(language: str, locale: Path = LOCALE) -> Path:
    """Return the path of a language's catalogue, from ``pt-br`` or ``pt_BR``."""
    return locale / to_locale(language.replace("_", "-").lower()) / "LC_MESSAGES" / f"{DOMAIN}.po"


def catalogues(locale: Path = LOCALE) -> list[Path]:
    """Return the paths of the existing catalogues."""
    return sorted(locale.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def updated(path: Path, source: Catalog) -> bytes:
    """Return a catalogue brought to the state of the source: new messages empty, similar ones fuzzy, old ones removed.

    Args:
        path: path of the catalogue; it need not exist.
        source: catalogue from `extracted`.
    """
    name = path.parent.parent.name
    if path.exists():
        with path.open("rb") as file:
            catalogue = read_po(file, locale=name, domain=DOMAIN)
    else:
        catalogue = Catalog(locale=name, domain=DOMAIN, charset="utf-8")
    catalogue.update(source)
    catalogue.fuzzy = False
    catalogue.header_comment = f"# {Locale.parse(name).english_name}: texts of the service. See docs/languages.md."
    text = io.BytesIO()
    write_po(text, catalogue, width=120, sort_by_file=True, include_lineno=False, ignore_obsolete=True)
    return _HEADER.sub("", text.getvalue().decode()).encode()


def problems(path: Path, source: Catalog) -> list[str]:
    """Return the faults of a catalogue; none if it is complete.

    Args:
        path: path of the catalogue.
        source: catalogue from `extracted`.
    """
    name = path.parent.parent.name
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, locale=name, domain=DOMAIN, abort_invalid=True)
        _compile(catalogue)
    except (PoFileError, ValueError, OSError) as error:
        return [f"{name}: it does not compile: {error}"]
    wanted, translated = _by_key(source), _by_key(catalogue)
    faults = [f"missing: {key[1]!r}" for key in wanted if key not in translated]
    faults += [f"stale: {key[1]!r}" for key in translated if key not in wanted]
    faults += [f"stale: {message.id!r}" for message in catalogue.obsolete.values()]
    for key in wanted.keys() & translated.keys():
        faults += _problems_of(wanted[key], translated[key], get_plural(name).num_plurals)
    return [f"{name}: {fault}" for fault in sorted(faults)]


def _by_key(catalogue: Catalog) -> dict[Key, Message]:
    return {(message.context or "", _forms(message.id)[0]): message for message in catalogue if message.id}


def _problems_of(wanted: Message, message: Message, plurals: int) -> Iterator[str]:
    """Yield the faults of one translation."""
    texts, translated = _forms(wanted.id), _forms(message.string)
    source_text = repr(texts[0])
    if len(texts) != len(_forms(message.id)):
        yield f"stale: {source_text} has a plural in one of the two only"
    elif message.fuzzy:
        yield f"fuzzy: {source_text}"
    elif len(translated) != (plurals if len(texts) > 1 else 1) or not all(translated):
        yield f"missing: {source_text}"
    else:
        for one in translated:
            if not any(_places(one, texts) == _places(text, texts) for text in texts):
                yield f"other placeholders: {source_text}: {one!r}"
            if _has_words(texts[0]) and _edges(one) != _edges(texts[0]):
                yield f"other space around it: {source_text}: {one!r}"


def _has_words(text: str) -> bool:
    return any(letter.isalpha() for letter in text)


def _edges(text: str) -> tuple[bool, bool]:
    """Return whether a text begins and ends with space."""
    return text[:1].isspace(), text[-1:].isspace()


def _places(text: str, source: Sequence[str]) -> Counter[str]:
    """Return the placeholders of a text; a per cent sign counts only if the source is a format."""
    is_format = any("%(" in one or "%%" in one for one in source)
    percent = _PERCENT_PLACE.findall(text) if is_format else []
    return Counter([*percent, *_BRACE_PLACE.findall(text)])


def _forms(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a text, or a text with its plural, as a tuple."""
    return (text or "",) if isinstance(text, str | None) else tuple(text)


def _compile(catalogue: Catalog) -> None:
    """Compile a catalogue in memory and read it as Django does.

    Raises:
        ValueError: it cannot be read.
    """
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    try:
        gettext.GNUTranslations(io.BytesIO(compiled.getvalue()))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def source_problems(source: Catalog) -> list[str]:
    """Return the faults of the texts themselves."""
    broken = [message for message in source if message.id and "\n" in _forms(message.id)[0]]
    faults = [f"line break in a text (use trimmed): {_forms(message.id)[0]!r}" for message in broken]
    return faults + [f"not through gettext: {text}" for text in hard_coded_texts()]


def _setup() -> ModuleType:
    """Return the module of the package's build, which compiles catalogues."""
    spec = importlib.util.spec_from_file_location("boneage_setup", ROOT / "setup.py")
    if spec is None or spec.loader is None:
        raise ImportError(str(ROOT / "setup.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- commands ---------------------------------------------------------------------------------------------------------


@click.group(help=ast.get_docstring(ast.parse(Path(__file__).read_text(encoding="utf-8"))))
def main() -> None:
    """Group the commands."""


@main.command()
def update() -> None:
    """Bring all catalogues to the state of the source."""
    source = extracted()
    for path in catalogues():
        path.write_bytes(updated(path, source))
        click.echo(f"{path.parent.parent.name}: {len(problems(path, source))} to do")


@main.command()
def check() -> None:
    """List missing, fuzzy, stale and invalid translations; fail if there are any."""
    source = extracted()
    faults = source_problems(source) + [one for path in catalogues() for one in problems(path, source)]
    for one in faults:
        click.echo(one)
    sys.exit(1 if faults else 0)


@main.command()
@click.argument("language")
def add(language: str) -> None:
    """Create the catalogue of a language, named like in browsers: it, pt-br, zh-hans."""
    path = path_of(language)
    if path.exists():
        raise click.ClickException(f"{path} already exists.")
    try:
        Locale.parse(path.parent.parent.name)
    except (UnknownLocaleError, ValueError) as error:
        raise click.ClickException(f"{language} is not a language: {error}.") from error
    path.parent.mkdir(parents=True)
    path.write_bytes(updated(path, extracted()))
    click.echo(f"Translate {path}, then run this with check and compile.")


@main.command(name="compile")
def compile_all() -> None:
    """Write the files that Django reads; installing the package does the same."""
    for path in _setup().compile_catalogues():
        click.echo(str(path))


if __name__ == "__main__":
    main()
