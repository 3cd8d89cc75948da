"""`boneage.assess_many`: the same results as one at a time, in order, with bounded work ahead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import boneage
from boneage.bundle.bundle import Bundle
from boneage.phantom import write_sample
from tests.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle, opened."""
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"), threads=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn phantom as a file."""
    return write_sample(tmp_path_factory.mktemp("sample") / "phantom.png")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_those_of_assess(bundle: Bundle, sample: Path, workers: int) -> None:
    """In order; a rejection stands in its place."""
    sources: list[Path | bytes] = [sample, Path("missing.png"), sample.read_bytes(), b"no radiograph"]
    results = list(boneage.assess_many(sources, ["F", "F", "M", "M"], bundle, workers=workers))
    assert [source for source, _ in results] == sources
    girl, missing, boy, unreadable = [result for _, result in results]
    assert isinstance(girl, boneage.Assessment)
    assert isinstance(boy, boneage.Assessment)
    assert girl.age_months == boneage.assess(sample, "F", bundle).age_months
    assert boy.age_months == boneage.assess(sample, "M", bundle).age_months
    assert isinstance(missing, boneage.Rejection)
    assert isinstance(unreadable, boneage.Rejection)
    assert (missing.code, unreadable.code) == ("not_found", "unreadable")


def test_sources_are_read_as_needed(bundle: Bundle) -> None:
    """An archive's paths are not all taken before the first result, and a reader may stop early."""
    taken = []

    def sources() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield b"no radiograph"

    results = boneage.assess_many(sources(), "F", bundle, workers=2)
    next(results)
    assert len(taken) <= 4
    results.close()  # type: ignore[attr-defined]


def test_arguments_are_checked(bundle: Bundle, sample: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        boneage.assess_many([sample], "F", bundle, workers=0)
    with pytest.raises(ValueError, match="fewer sexes"):
        list(boneage.assess_many([sample, sample], ["F"], bundle))
