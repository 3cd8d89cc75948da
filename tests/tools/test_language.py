"""The check of the project's English: each rule finds a planted fault and lets the allowed form pass."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from tests.programs import load_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program("tools/language.py")


def rules(tool: ModuleType, name: str, text: str) -> list[str]:
    """Return the rules that a file with this name and text breaks, by the tables of the style page."""
    style = tool.Style.read((ROOT / "docs" / "style.md").read_text(encoding="utf-8"))
    checker = tool.Checker(style, name)
    tool.CHECKS[Path(name).suffix](checker, text)
    return [finding.rule for finding in checker.findings]


LONG = "One word follows another " * 11
FUNCTION = 'def crop(image):\n    """Return the cropped image.\n\n    Args:\n        image: {}\n    """\n'
RETURNS = 'def crop():\n    """Return the cropped image.\n\n    Returns:\n        {}\n    """\n'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""Reading of films."""', ["word"]),
        ('"""Reading of digitised film."""', []),
        ('"""Names in `film` stay."""', []),
        ('"""Networks that\nare learnt."""', ["word"]),
        ("# The net is small.", ["word"]),
        ("size = 1  # The net is small.", ["word"]),
        ("# A U-Net is small, its net effect too.", []),
        ('"""What the file says."""', ["opening"]),
        ('"""Of a region, its box."""', ["opening"]),
        ('SIZE = 1\n"""Whether it is small."""', ["opening"]),
        ('SIZE = 1\n"""Side length, in pixels."""', []),
        ('def is_small():\n    """Whether it is small."""', ["opening"]),
        ('def is_small():\n    """Return True if it is small."""', []),
        (FUNCTION.format("of the hand."), ["opening"]),
        (FUNCTION.format("radiograph of the hand."), []),
        (FUNCTION.format("Whether to crop."), ["opening"]),
        (RETURNS.format("What is left."), ["opening"]),
        (RETURNS.format("The part that remains."), []),
        ('"""Ages of hands.\n\nBy sex.\n"""', ["opening"]),
        ('"""Ages of hands.\n\nBy default, they are in months.\n"""', []),
        ('"""Ages of hands.\n\nThey are estimated. As in the paper.\n"""', ["opening"]),
        ("# So that it is small.", ["opening"]),
        ("# How is it made small?", []),
        (f'"""{LONG}."""', ["sentence"]),
        (f"# {LONG}.", ["sentence"]),
        ("said = 1", ["name"]),
        ("def f(told): ...", ["name"]),
        ("class Asked: ...", ["name"]),
        ("for found in (): ...", ["name"]),
        ("was_told = 1", ["name"]),
        ("import numpy as net", ["name"]),
        ("foundation, network, well_known_limit = 1, 2, 3", []),
        ("raise ValueError('This film is not a hand.')", ["word"]),
        ("raise ValueError(f'{name} is a film that is too dark.')", ["word"]),
        ("name = 'film'", []),
        ("_('Films')", ["word"]),
        ("click.option(help='What the file says.')", ["opening"]),
        ("click.option(help='Contents of the file.')", []),
        ("x = [1,\n     2]  # fmt: skip", ["format"]),
        ("# fmt: off", ["format"]),
    ],
)
def test_rules_in_python(tool: ModuleType, source: str, expected: list[str]) -> None:
    assert rules(tool, "src/boneage/module.py", source) == expected


def test_length_of_test_names(tool: ModuleType) -> None:
    name = "test_" + "a" * 65
    assert rules(tool, "tests/test_module.py", f"def {name}(): ...") == []
    assert rules(tool, "tests/test_module.py", f"def {name}a(): ...") == ["test-name"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("A film is read.", ["word"]),
        ("A radiograph is read.", []),
        ("A radiograph is read by `film`.", []),
        ("```\na film\n```", []),
        ("    a film", []),
        ("[A film](https://example.org/film) is read.", ["word"]),
        ("[A radiograph](https://example.org/film) is read.", []),
        ("# What it cannot do", ["word"]),
        ("It is read. As follows.", ["opening"]),
        ("To start the service, run it.", []),
        (f"{LONG}.".replace(" One", "\nOne"), ["sentence"]),
        ("* " + "word " * 20 + "*", ["line"]),
        ("https://example.org/" + "a" * 90, []),
        ("| " + "word " * 33 + "|", ["cell"]),
        ("| a film | " + "word " * 25 + "|", ["word"]),
    ],
)
def test_rules_in_markdown(tool: ModuleType, source: str, expected: list[str]) -> None:
    assert rules(tool, "docs/page.md", source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>A film.</p>", ["word"]),
        ('<p class="film">{{ film }}</p>', []),
        ('{% translate "A film." %}', ["word"]),
        ("<p>{% blocktranslate %}A film of {{ name }}.{% endblocktranslate %}</p>", ["word"]),
        ('<img alt="A film">', ["word"]),
        ("<script>film</script>", []),
        ("<p>What the file says.</p>", ["opening"]),
        ("<p>What does the file say?</p>", []),
    ],
)
def test_rules_in_templates(tool: ModuleType, source: str, expected: list[str]) -> None:
    assert rules(tool, "src/boneage/web/templates/web/page.html", source) == expected


def test_line_of_a_finding(tool: ModuleType) -> None:
    style = tool.Style.read((ROOT / "docs" / "style.md").read_text(encoding="utf-8"))
    checker = tool.Checker(style, "src/boneage/module.py")
    tool.check_python(checker, '"""Reading.\n\nIt reads\nfilms.\n"""\n')
    assert [str(finding)[:31] for finding in checker.findings] == ["src/boneage/module.py:4: word: "]


def test_problems_and_allowances(tool: ModuleType) -> None:
    """A finding fails the check unless it is allowed; an unused exception fails too."""
    finding = tool.Finding("src/boneage/a/b.py", 1, "word", "'film', write radiograph")
    allowed = tool.allowances("[[allow]]\npath='src/boneage/a/b.py'\nrule='word'\ntext='film'\nreason='A quotation.'")
    assert tool.problems([finding], []) == [str(finding)]
    assert tool.problems([finding], allowed) == []
    assert len(tool.problems([], allowed)) == 1


@pytest.mark.parametrize("entry", ["path='a.py'\nrule='word'", "path='a.py'\nrule='word'\nreason=' '", "reason='so'"])
def test_allowances_need_a_reason(tool: ModuleType, entry: str) -> None:
    with pytest.raises(ValueError, match="reason"):
        tool.allowances(f"[[allow]]\n{entry}\n")


@pytest.mark.parametrize("page", ["", "## Openings\n\n| a |\n|---|\n| none |\n"])
def test_style_page_without_tables(tool: ModuleType, page: str) -> None:
    with pytest.raises(ValueError, match=r"style\.md"):
        tool.Style.read(page)


def test_commands(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check fails on a finding and passes without any; the list takes folders."""
    for name in ("here", "there"):
        (tmp_path / "src/boneage" / name).mkdir(parents=True)
        (tmp_path / "src/boneage" / name / "module.py").write_text('"""Reading of films."""\n')
    (tmp_path / "allowed.toml").write_text("")
    for constant, path in (("ROOT", ""), ("ALLOWED", "allowed.toml")):
        monkeypatch.setattr(tool, constant, tmp_path / path)
    finding = "src/boneage/{}/module.py:1: word: 'films', write radiograph; \"image\" for an array or a file\n"
    checked = CliRunner().invoke(tool.main)
    assert (checked.exit_code, checked.output) == (1, finding.format("here") + finding.format("there"))
    listed = CliRunner().invoke(tool.main, ["list", "src/boneage/there/"])
    assert (listed.exit_code, listed.output) == (0, finding.format("there"))
    for name in ("here", "there"):
        (tmp_path / "src/boneage" / name / "module.py").write_text('"""Reading of radiographs."""\n')
    assert CliRunner().invoke(tool.main, ["check"]).exit_code == 0
