#!/usr/bin/env python
"""Check the English of the project against the tables in docs/style.md.

`check` fails on findings, and `list PATH ...` prints the findings of files and folders, allowed ones as well.
docs/style.md describes the rules.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
STYLE = ROOT / "docs" / "style.md"
ALLOWED = ROOT / "tools" / "language_allowed.toml"

PYTHON_FOLDERS = ("src", "tests", "benchmarks", "docs", "examples", "tools")
SKIPPED = ("docs/commands.md", "src/boneage/web/migrations/", "tests/tools/test_language.py")
"""Generated files, and the tests of this check, which hold planted faults."""

SENTENCE_WORDS = 40
TEST_NAME_LENGTH = 70
LINE_LENGTH = 100
CELL_LENGTH = 160
PROSE_WORDS = 4
"""Minimum number of words that make a string literal prose."""

GETTEXT = {
    "_",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "marked",
    "ngettext",
    "ngettext_lazy",
    "pgettext",
    "pgettext_lazy",
    "npgettext",
    "npgettext_lazy",
}

SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Returns|Yields|Raises|Note|Notes|Example|Examples|References|Sources?|Warning):$"
)
ENTRY = re.compile(r"^\*{0,2}`{0,2}[\w.]+`{0,2}(?:, \*{0,2}[\w.]+)*(?: \([^)]*\))?: (.+)$")
LIST_ITEM = re.compile(r"^\s*(?:[*+-]|\d+\.)\s+")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|cf|vs|approx|Fig|Figs|No|Dr|St|Sec|Ref|resp|incl|excl|max|min|ca)\.")
CODE = re.compile(r"(`{1,2})(?:(?!\1).)+\1")
WORD = re.compile(r"[^\W\d_][\w'’-]*")


@dataclass(frozen=True)
class Finding:
    """A place that breaks a rule."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


@dataclass(frozen=True)
class Allowance:
    """An exception from a rule, with its reason. An empty text allows the rule in the whole file."""

    path: str
    rule: str
    text: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Return True if the finding is allowed."""
        return self.path == finding.path and self.rule == finding.rule and self.text in finding.text


@dataclass(frozen=True)
class Style:
    """Rules as docs/style.md states them."""

    openings: tuple[str, ...]
    words: tuple[tuple[re.Pattern[str], str], ...]
    any_word: re.Pattern[str]
    exceptions: re.Pattern[str]
    whole_names: frozenset[str]
    name_parts: frozenset[str]

    @classmethod
    def read(cls, page: str) -> Style:
        """Read the tables of openings, words and names.

        Args:
            page: Markdown of docs/style.md.

        Raises:
            ValueError: If a table is missing or a row has no phrase.
        """
        openings = tuple(_one_phrase(row[0]) for row in _table(page, "Openings"))
        words, exceptions = [], ["(?!)"]
        for write, instead, allowed in _table(page, "Words"):
            phrases = _phrases(instead)
            if not phrases:
                raise ValueError(f"docs/style.md: no phrase to avoid in the row of {write!r}")
            words += [(_pattern(phrase), f"{phrase!r}, write {write}") for phrase in phrases]
            exceptions += [_pattern(phrase).pattern for phrase in _phrases(allowed)]
        whole, parts = _table(page, "Names")[0]
        return cls(
            openings,
            tuple(words),
            re.compile("|".join(pattern.pattern for pattern, _ in words), re.IGNORECASE),
            re.compile("|".join(exceptions), re.IGNORECASE),
            frozenset(_phrases(whole)),
            frozenset(_phrases(parts)),
        )


def _table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, without its head."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    rows = [_cells(line) for line in section[1].splitlines() if line.startswith("|")][2:] if section else []
    if not rows:
        raise ValueError(f"docs/style.md: no table under {heading!r}")
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _phrases(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _one_phrase(cell: str) -> str:
    phrases = _phrases(cell)
    if len(phrases) != 1:
        raise ValueError(f"docs/style.md: {cell!r} is not one opening")
    return phrases[0]


def _pattern(phrase: str) -> re.Pattern[str]:
    """Return a pattern for whole words of a phrase, with any space between them."""
    return re.compile(r"(?<![\w-])" + r"\s+".join(map(re.escape, phrase.split())) + r"(?![\w-])", re.IGNORECASE)


class Checker:
    """Findings of one file, by the rules of a style."""

    def __init__(self, style: Style, path: str) -> None:
        """Begin without findings.

        Args:
            style: Rules to apply.
            path: Name of the file, relative to the repository's root.
        """
        self.style = style
        self.path = path
        self.findings: list[Finding] = []

    def add(self, line: int, rule: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(self.path, line, rule, text))

    def words(self, text: str, line: int) -> None:
        """Find words and phrases of the table, outside of code and of allowed phrases."""
        if not self.style.any_word.search(text):
            return
        plain = self.style.exceptions.sub(" ", _without_code(text))
        for pattern, advice in self.style.words:
            for match in pattern.finditer(plain):
                self.add(line + plain[: match.start()].count("\n"), "word", advice)

    def description(self, text: str, line: int, subject: str = "") -> None:
        """Find an opening at the beginning of a summary or a description."""
        opening = self._opening(text)
        if opening:
            self.add(line, "opening", f"{subject}{_start(text)!r} begins with {opening!r}")

    def sentences(self, text: str, line: int, *, first_is_description: bool = False) -> None:
        """Find sentences that are too long, or that begin with an opening and have no clause after it."""
        for number, sentence in enumerate(_sentences(text)):
            words = len(WORD.findall(re.sub(r"`[^`]*`", "code", sentence)))
            if words > SENTENCE_WORDS:
                self.add(line, "sentence", f"{words} words: {_start(sentence)!r}")
            opening = self._opening(sentence)
            if opening and not (first_is_description and number == 0) and not re.search(r"[,:?]", sentence):
                self.add(line, "opening", f"{_start(sentence)!r} begins with {opening!r}")

    def _opening(self, text: str) -> str | None:
        text = text.lstrip("*_(\"'“ ").lower()
        return next((word for word in self.style.openings if re.match(rf"{word}\b(?![-_.`(])", text)), None)

    def name(self, name: str, line: int) -> None:
        """Find a name that is not of the domain, or a test's name that is too long."""
        if name.startswith("test_") and len(name) > TEST_NAME_LENGTH:
            self.add(line, "test-name", f"{name} ({len(name)} characters)")
        parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip("_")).lower().split("_")
        if "_".join(parts) in self.style.whole_names or not self.style.name_parts.isdisjoint(parts):
            self.add(line, "name", name)


# --- prose ------------------------------------------------------------------------------------------------------------


def _without_code(text: str) -> str:
    """Return prose with code in backticks blanked and addresses removed."""
    text = CODE.sub(lambda match: " code" + "\n" * match[0].count("\n"), text)
    return re.sub(r"https?://\S+", " ", text)


def _sentences(text: str) -> list[str]:
    text = ABBREVIATION.sub(lambda match: match[0].replace(".", "\u2024"), " ".join(text.split()))
    return [one for one in re.split(r"(?<=[.!?])[\"')”]*\s+(?=[\"'(“`*]*[A-Z`])", text) if one]


def _start(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


# --- Python -----------------------------------------------------------------------------------------------------------


def check_python(checker: Checker, source: str) -> None:
    """Check docstrings, comments, string literals and names of a module."""
    tree = ast.parse(source)
    documented = set()
    for text, line, docstring in _docstrings(tree):
        documented.add(id(docstring))
        _check_docstring(checker, text, line)
    for text, line in _comments(source):
        _check_comment(checker, text, line)
    is_test = checker.path.startswith("tests/")
    for node in ast.walk(tree):
        for name, line in _names(node):
            checker.name(name, line)
    if not is_test:
        for text, line, is_sentence in _literals(tree, documented):
            checker.words(text, line)
            if is_sentence:
                _check_blocks(checker, text, line)


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, int, ast.Constant]]:
    """Yield docstrings of modules, classes and functions, and of the assignments that they follow."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        holds_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for number, child in enumerate(body):
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                continue
            follows = number > 0 and isinstance(body[number - 1], ast.Assign | ast.AnnAssign)
            if isinstance(child.value.value, str) and (follows or (number == 0 and holds_docstring)):
                yield child.value.value, child.value.lineno, child.value


def _check_docstring(checker: Checker, text: str, line: int) -> None:
    checker.words(text, line)
    checker.description(text, line)
    _check_blocks(checker, text, line, first_is_description=True)


def _check_blocks(checker: Checker, text: str, line: int, *, first_is_description: bool = False) -> None:
    """Check paragraphs, items of lists and entries of sections, each for itself."""
    for number, (block, offset, section) in enumerate(_blocks(text)):
        entry = ENTRY.match(block) if section in ("Args", "Arguments", "Attributes", "Raises") else None
        described = entry[1] if entry else block
        is_description = bool(entry) or section in ("Returns", "Yields")
        if is_description and section != "Raises":
            checker.description(described, line + offset, f"{section}: ")
        is_first = is_description or (first_is_description and number == 0)
        checker.sentences(described, line + offset, first_is_description=is_first)


def _blocks(text: str) -> Iterator[tuple[str, int, str]]:
    """Yield the blocks of a docstring with their line and their section, without code and tables."""
    section, block, start, verbatim, entry_indent = "", list[str](), 0, False, -1
    lines = text.splitlines()
    body = [one for one in lines[1:] if one.strip()]
    margin = min((len(one) - len(one.lstrip()) for one in body), default=0)
    for number, raw in enumerate([*lines, ""]):
        line = raw.strip() if number == 0 else raw[margin:].rstrip()
        content, indent = line.strip(), len(line) - len(line.lstrip())
        heading = SECTION.match(content) if indent == 0 else None
        starts = bool(LIST_ITEM.match(line)) or (bool(section) and bool(content) and indent <= entry_indent)
        if not content or heading or starts:
            if block and not verbatim:
                yield " ".join(block), start, section
            block, verbatim = [], False
        if heading:
            section, entry_indent = heading[1], -1
        elif content:
            if section and indent == 0:
                section, entry_indent = "", -1
            if section and entry_indent < 0:
                entry_indent = indent
            if not block:
                start = number
                verbatim = (
                    content in ("\b", "\\b") or content.startswith((">>>", "|", "$ ")) or (not section and indent >= 4)
                )
            block.append(LIST_ITEM.sub("", content))


def _comments(source: str) -> Iterator[tuple[str, int]]:
    """Yield comments; consecutive lines of comments are one."""
    block, start, last = list[str](), 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("#!: ")
        alone = token.line.strip().startswith("#")
        if block and not (alone and line == last + 1):
            yield "\n".join(block), start
            block = []
        if not block:
            start = line
        block.append(text)
        last = line if alone else -1
    if block:
        yield "\n".join(block), start


def _check_comment(checker: Checker, text: str, line: int) -> None:
    if re.match(r"fmt: (skip|off|on)\b", text):
        checker.add(line, "format", text)
    if re.match(r"(fmt|type|noqa|pragma|ruff|mypy)\b", text):
        return
    checker.words(text, line)
    checker.sentences(text, line)


def _names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a node defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node.lineno
    elif isinstance(node, ast.arg):
        yield node.arg, node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr, node.lineno
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name, node.lineno
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname, node.lineno


def _literals(tree: ast.Module, documented: set[int]) -> Iterator[tuple[str, int, bool]]:
    """Yield string literals that are prose, and True with those that are help texts or texts for translation."""
    marked = {id(one) for node in ast.walk(tree) if isinstance(node, ast.Call) for one in _texts_of(node)}
    in_formats = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for one in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in documented or id(node) in in_formats:
                continue
            text = node.value
        else:
            continue
        if id(node) in marked or (len(WORD.findall(text)) >= PROSE_WORDS and " " in text.strip()):
            yield text, node.lineno, id(node) in marked


def _texts_of(call: ast.Call) -> Iterable[ast.expr]:
    """Return the arguments of a call that people read."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    texts = list(call.args) if name in GETTEXT else []
    return texts + [keyword.value for keyword in call.keywords if keyword.arg in ("help", "short_help", "epilog")]


# --- Markdown and templates -------------------------------------------------------------------------------------------


def check_markdown(checker: Checker, source: str) -> None:
    """Check the prose of a page, the length of its lines and its tables' cells."""
    block, start, fenced = list[str](), 0, False
    for number, line in enumerate([*source.splitlines(), ""], 1):
        content = line.strip()
        fence = content.startswith("```")
        in_code = fenced or fence or line.startswith(("    ", "\t"))
        fenced ^= fence
        heading = content.startswith("#")
        ends = not content or in_code or heading or content.startswith("|") or LIST_ITEM.match(line)
        if ends and block:
            _check_prose(checker, "\n".join(block), start)
            block = []
        if not content or (in_code and not (block or LIST_ITEM.match(line))):
            continue
        if content.startswith("|"):
            _check_row(checker, content, number)
            continue
        if len(line) > LINE_LENGTH and " " in content[:LINE_LENGTH].lstrip("#*-> ") and not content.startswith("!["):
            checker.add(number, "line", f"{len(line)} columns")
        if heading:
            checker.words(content, number)
            continue
        if not block:
            start = number
        block.append(LIST_ITEM.sub("", content))


def _check_prose(checker: Checker, text: str, line: int) -> None:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    checker.words(text, line)
    checker.sentences(text, line)


def _check_row(checker: Checker, row: str, line: int) -> None:
    for cell in _cells(row):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", cell)
        checker.words(shown, line)
        if len(shown) > CELL_LENGTH:
            checker.add(line, "cell", f"{len(shown)} characters: {_start(shown)!r}")


def check_template(checker: Checker, source: str) -> None:
    """Check the texts that a template shows, translated or not."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    source = re.sub(r"\{%\s*comment.*?endcomment\s*%\}|<(script|style)\b.*?</\1>", blank, source, flags=re.DOTALL)
    for match in re.finditer(r"\{%\s*trans(?:late)?\s+\"([^\"]*)\"", source):
        _check_shown(checker, match[1], source[: match.start()].count("\n") + 1)
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", lambda match: " {} " + blank(match), source, flags=re.DOTALL)
    for match in re.finditer(r"(?:^|>)([^<>]+)(?=<|\Z)", bare):
        if WORD.search(match[1]):
            _check_shown(checker, match[1], bare[: match.start(1)].count("\n") + 1)
    for match in re.finditer(r"\s(?:alt|title|aria-label|aria-description|placeholder)=\"([^\"]*)\"", bare):
        _check_shown(checker, match[1], bare[: match.start()].count("\n") + 1)


def _check_shown(checker: Checker, text: str, line: int) -> None:
    checker.words(text, line)
    checker.sentences(text, line)


# --- files ------------------------------------------------------------------------------------------------------------

CHECKS: dict[str, Callable[[Checker, str], None]] = {
    ".py": check_python,
    ".md": check_markdown,
    ".html": check_template,
}


def files(root: Path) -> Iterator[Path]:
    """Yield the files that are checked: Python, Markdown and templates of pages."""
    paths = [*root.glob("*.md"), *root.glob("*.py")]
    for folder in PYTHON_FOLDERS:
        paths += [path for ending in CHECKS for path in (root / folder).rglob(f"*{ending}")]
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if not any(name == one or (one.endswith("/") and name.startswith(one)) for one in SKIPPED):
            yield path


def findings_of(path: Path, root: Path, style: Style) -> list[Finding]:
    """Return the findings of one file."""
    checker = Checker(style, path.relative_to(root).as_posix())
    CHECKS[path.suffix](checker, path.read_text(encoding="utf-8"))
    return checker.findings


def is_under(path: str, folders: Iterable[str]) -> bool:
    """Return True if a path is one of the given ones or lies in one of them."""
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in folders)


def allowances(text: str) -> list[Allowance]:
    """Read the exceptions.

    Args:
        text: TOML with an array of tables ``allow``.

    Raises:
        ValueError: If an exception lacks its path, rule or reason.
    """
    entries = [
        Allowance(*(str(entry.get(key, "")) for key in ("path", "rule", "text", "reason")))
        for entry in tomllib.loads(text).get("allow", [])
    ]
    for entry in entries:
        if not (entry.path and entry.rule and entry.reason.strip()):
            raise ValueError(f"tools/language_allowed.toml: an exception needs a path, a rule and a reason: {entry}")
    return entries


def problems(findings: list[Finding], allowed: list[Allowance]) -> list[str]:
    """Return findings without an exception, and exceptions without a finding."""
    failing = [str(one) for one in findings if not any(entry.covers(one) for entry in allowed)]
    unused = [one for one in allowed if not any(one.covers(finding) for finding in findings)]
    return failing + [
        f"tools/language_allowed.toml: remove the exception for {one.path}, {one.rule}, {one.text!r}" for one in unused
    ]


def _everything(folders: Iterable[str] = ()) -> list[Finding]:
    """Return the findings below some folders, or of the whole project."""
    style = Style.read(STYLE.read_text(encoding="utf-8"))
    folders = [folder.rstrip("/") for folder in folders]
    return [
        finding
        for path in files(ROOT)
        if not folders or is_under(path.relative_to(ROOT).as_posix(), folders)
        for finding in findings_of(path, ROOT, style)
    ]


@click.group(invoke_without_command=True, help=__doc__)
@click.pass_context
def main(context: click.Context) -> None:
    """Run the check where no command is given."""
    if context.invoked_subcommand is None:
        context.invoke(check)


@main.command()
def check() -> None:
    """Fail on findings without an exception."""
    lines = problems(_everything(), allowances(ALLOWED.read_text(encoding="utf-8")))
    for line in lines:
        click.echo(line)
    sys.exit(1 if lines else 0)


@main.command(name="list")
@click.argument("paths", nargs=-1)
def list_findings(paths: tuple[str, ...]) -> None:
    """Print the findings of files and folders, of all without an argument."""
    for finding in _everything(paths):
        click.echo(str(finding))


if __name__ == "__main__":
    main()
