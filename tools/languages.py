#!/usr/bin/env python
"""Keeps the catalogues of messages: takes the sentences from the source, and checks every translation.

`python tools/languages.py update` after texts were changed; docs/languages.md says what to do then.
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
from boneage.web.languages import LOCALE

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
WEB = SOURCE / "boneage" / "web"

CORE_TEXTS = {
    "boneage/hand/registration.py": tuple(REGION_TITLES.values()),
    "boneage/warnings_.py": tuple(WARNING_TEXTS.values()),
}
"""Sentences of the core, which knows no languages: `boneage.web.texts` translates them. By the file that holds them."""

KEYWORDS = {
    **DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "marked": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
"""Functions whose text is a message; ``marked`` is what gettext_noop is imported as."""

DOMAIN = "django"
MAY_STAND_AS_THEY_ARE = {
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
"""Words of templates that are the same in every language. Longer texts that are stand in an element with HTML's
``translate="no"``."""

_HEADER = re.compile(
    r'^"(Project-Id-Version|Report-Msgid-Bugs-To|POT-Creation-Date|PO-Revision-Date|Last-Translator|'
    r'Language-Team|Generated-By):.*\n(?:"[^:"]*"\n)*',
    re.MULTILINE,
)
_PERCENT_PLACE = re.compile(r"%(?:\(\w+\)[#0\- +]*\d*(?:\.\d+)?[a-zA-Z]|%)")
_BRACE_PLACE = re.compile(r"\{[^{}]*\}")

_SAID_OTHERWISE = re.compile(
    r"""
    \{%\ *(blocktrans(?:late)?|comment)\b.*?\{%\ *end\1\ *%\} | \{%\ *block\ width\ *%\}.*?\{%\ *endblock\b.*?%\}
    | \{\#.*?\#\} | <!--.*?--> | <(script|style)\b.*?</\2> | <(\w+)\b[^>]*\btranslate="no".*?</\3>
    """,
    re.DOTALL | re.VERBOSE,
)
"""Parts of templates that hold no text of their own, or one that is looked at elsewhere."""

Key = tuple[str, str]
"""Of a message: its context and its (singular) text."""


# --- what the source says ---------------------------------------------------------------------------------------------


def extracted() -> Catalog:
    """Every text of the pages, with the files that it stands in."""
    catalogue = Catalog(charset="utf-8")
    for path in sorted(WEB.rglob("*.py")):
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
    """Words of templates that do not go through gettext."""
    found = []
    for path in sorted((WEB / "templates").rglob("*.html")):
        for said in _plain_texts(path.read_text(encoding="utf-8")):
            words = [word for word in re.findall(r"[^\W\d_]{2,}", said) if word not in MAY_STAND_AS_THEY_ARE]
            if words:
                found.append(f"{path.name}: {' '.join(said.split())}")
    return found


def _plain_texts(template: str) -> Iterator[str]:
    """What of a template is shown as it stands: text, and the attributes that are read out."""
    bare = re.sub(_SAID_OTHERWISE, "", template)
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", bare, flags=re.DOTALL)
    bare = re.sub(r"&\w+;", " ", bare)
    yield from re.findall(r'\s(?:alt|title|aria-label|aria-description|placeholder)="([^"]*)"', bare)
    yield from re.sub(r"<[^>]*>", "\0", bare).split("\0")


# --- catalogues -------------------------------------------------------------------------------------------------------


def path_of(language: str, locale: Path = LOCALE) -> Path:
    """Of a language's catalogue, ``pt-br`` or ``pt_BR``."""
    return locale / to_locale(language.replace("_", "-").lower()) / "LC_MESSAGES" / f"{DOMAIN}.po"


def catalogues(locale: Path = LOCALE) -> list[Path]:
    """The catalogues that there are."""
    return sorted(locale.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def updated(path: Path, source: Catalog) -> bytes:
    """A catalogue brought to the state of the source: new messages empty, similar ones fuzzy, old ones gone.

    Args:
        path: of the catalogue; it need not exist.
        source: as `extracted`.
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
    """What is wrong with a catalogue; nothing if it is complete.

    Args:
        path: of it.
        source: as `extracted`.
    """
    name = path.parent.parent.name
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, locale=name, domain=DOMAIN, abort_invalid=True)
        _compile(catalogue)
    except (PoFileError, ValueError, OSError) as error:
        return [f"{name}: it does not compile: {error}"]
    wanted, there = _by_key(source), _by_key(catalogue)
    found = [f"missing: {key[1]!r}" for key in wanted if key not in there]
    found += [f"stale: {key[1]!r}" for key in there if key not in wanted]
    found += [f"stale: {message.id!r}" for message in catalogue.obsolete.values()]
    for key in wanted.keys() & there.keys():
        found += _problems_of(wanted[key], there[key], get_plural(name).num_plurals)
    return [f"{name}: {what}" for what in sorted(found)]


def _by_key(catalogue: Catalog) -> dict[Key, Message]:
    return {(message.context or "", _forms(message.id)[0]): message for message in catalogue if message.id}


def _problems_of(wanted: Message, there: Message, plurals: int) -> Iterator[str]:
    """What is wrong with one translation."""
    texts, translated = _forms(wanted.id), _forms(there.string)
    said = repr(texts[0])
    if len(texts) != len(_forms(there.id)):
        yield f"stale: {said} has a plural in one of the two only"
    elif there.fuzzy:
        yield f"fuzzy: {said}"
    elif len(translated) != (plurals if len(texts) > 1 else 1) or not all(translated):
        yield f"missing: {said}"
    else:
        for one in translated:
            if not any(_places(one, texts) == _places(text, texts) for text in texts):
                yield f"other placeholders: {said}: {one!r}"
            if _has_words(texts[0]) and _edges(one) != _edges(texts[0]):
                yield f"other space around it: {said}: {one!r}"


def _has_words(text: str) -> bool:
    return any(letter.isalpha() for letter in text)


def _edges(text: str) -> tuple[bool, bool]:
    """Whether a text begins and ends with space."""
    return text[:1].isspace(), text[-1:].isspace()


def _places(text: str, source: Sequence[str]) -> Counter[str]:
    """The places of a text for values; a per cent sign counts only where the source is a format."""
    is_format = any("%(" in one or "%%" in one for one in source)
    percent = _PERCENT_PLACE.findall(text) if is_format else []
    return Counter([*percent, *_BRACE_PLACE.findall(text)])


def _forms(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """A text, or one with its plural, as a tuple."""
    return (text or "",) if isinstance(text, str | None) else tuple(text)


def _compile(catalogue: Catalog) -> None:
    """Compile in memory and read it as Django will.

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
    """What is wrong with the texts themselves."""
    broken = [message for message in source if message.id and "\n" in _forms(message.id)[0]]
    found = [f"line break in a text (say trimmed): {_forms(message.id)[0]!r}" for message in broken]
    return found + [f"not through gettext: {text}" for text in hard_coded_texts()]


def _setup() -> ModuleType:
    """The package's build, which compiles."""
    spec = importlib.util.spec_from_file_location("boneage_setup", ROOT / "setup.py")
    if spec is None or spec.loader is None:
        raise ImportError(str(ROOT / "setup.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- commands ---------------------------------------------------------------------------------------------------------


@click.group(help=ast.get_docstring(ast.parse(Path(__file__).read_text(encoding="utf-8"))))
def main() -> None:
    """The commands."""


@main.command()
def update() -> None:
    """Bring all catalogues to the state of the source."""
    source = extracted()
    for path in catalogues():
        path.write_bytes(updated(path, source))
        click.echo(f"{path.parent.parent.name}: {len(problems(path, source))} to do")


@main.command()
def check() -> None:
    """List what is missing, fuzzy, stale or wrong; fail if anything is."""
    source = extracted()
    found = source_problems(source) + [one for path in catalogues() for one in problems(path, source)]
    for one in found:
        click.echo(one)
    sys.exit(1 if found else 0)


@main.command()
@click.argument("language")
def add(language: str) -> None:
    """Begin the catalogue of a language, named as in browsers: it, pt-br, zh-hans."""
    path = path_of(language)
    if path.exists():
        raise click.ClickException(f"{path} is there already.")
    try:
        Locale.parse(path.parent.parent.name)
    except (UnknownLocaleError, ValueError) as error:
        raise click.ClickException(f"{language} is no language: {error}.") from error
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
