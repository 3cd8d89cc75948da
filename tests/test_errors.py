"""Codes and exit statuses are stable, distinct and documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from boneage import errors

SOURCES = Path(errors.__file__).parent


def test_errors_distinct_exit_status() -> None:
    """Every kind of error has its own exit status."""
    kinds = [kind for kind in errors.BoneageError.__subclasses__() if kind.__module__ == errors.__name__]
    statuses = [kind.exit_status for kind in kinds]
    assert len(set(statuses)) == len(statuses)
    assert not {0, 1, 2} & set(statuses)  # success, an unforeseen error, and wrong usage keep theirs


def test_rejection_code_and_message() -> None:
    """A rejection carries its code and message."""
    rejection = errors.Rejection(errors.RejectionCode.TOO_SMALL, "Too few pixels.")
    assert (rejection.code, rejection.message) == ("too_small", "Too few pixels.")
    assert str(rejection) == "Too few pixels. [too_small]"


def test_rejection_codes_documented() -> None:
    """Every code of a rejection has a docstring."""
    (codes,) = (
        node
        for node in ast.parse(Path(errors.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "RejectionCode"
    )
    for code, explanation in zip(codes.body[1::2], codes.body[2::2], strict=True):
        assert isinstance(code, ast.Assign)
        assert isinstance(explanation, ast.Expr), ast.unparse(code)
    assert len(codes.body) == 1 + 2 * len(errors.RejectionCode)


@pytest.mark.parametrize(
    "kind",
    [
        errors.BundleError,
        errors.RecipeError,
        errors.TableError,
        errors.AtlasError,
        errors.ConfigurationError,
        errors.NodeError,
    ],
)
def test_error_codes_documented(kind: type[errors.BoneageError]) -> None:
    """Every code of an error is explained in its class."""
    raised = {
        code
        for path in SOURCES.rglob("*.py")
        for code in re.findall(rf'{kind.__name__}\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    explained = set(re.findall(r"``(\w+)``:", kind.__doc__ or ""))
    assert raised <= explained
    assert explained <= set(re.findall(r"\w+", _all_other_sources()))


def _all_other_sources() -> str:
    return " ".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py") if path.name != "errors.py")
