"""Many radiographs: each is assessed on its own, several at a time, and a rejected one ends nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from pathlib import Path
from typing import TypeVar

from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.errors import Rejection
from boneage.reading.radiograph import RadiographSource
from boneage.sex import Sex

T = TypeVar("T", bound=RadiographSource)

_AHEAD = 2
"""Radiographs in work or finished ahead of the reader, for each worker: the results of an archive need no memory."""


def assess_many(
    sources: Iterable[T],
    sex: str | Sex | Iterable[str | Sex | None],
    bundle: str | Path | Bundle = "default",
    *,
    workers: int = 2,
) -> Iterator[tuple[T, Assessment | Rejection]]:
    """Assess radiographs in threads, and yield each source with its assessment or its rejection, in order.

    Args:
        sources: radiographs, see `boneage.assess`; read as they are needed.
        sex: sex of all patients, or one for each source.
        bundle: an opened bundle, the name of a shipped one, or a bundle's folder. One that is opened here gives each
            radiograph one thread.
        workers: number of radiographs at a time, at least 1.

    Raises:
        ValueError: `workers` is less than 1, or there are fewer sexes than sources.
        BundleError: the bundle is missing or damaged.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, threads=1)
    sexes = repeat(sex) if isinstance(sex, str) else iter(sex)
    return _assessed(iter(sources), sexes, opened, workers)


def _assessed(
    sources: Iterator[T], sexes: Iterator[str | Sex | None], bundle: Bundle, workers: int
) -> Iterator[tuple[T, Assessment | Rejection]]:
    waiting: deque[tuple[T, Future[Assessment]]] = deque()
    with ThreadPoolExecutor(workers) as pool:

        def submit(count: int) -> None:
            for source in islice(sources, count):
                try:
                    sex = next(sexes)
                except StopIteration:
                    raise ValueError("there are fewer sexes than radiographs") from None
                waiting.append((source, pool.submit(assess, source, sex, bundle)))

        submit(_AHEAD * workers)
        try:
            while waiting:
                source, future = waiting.popleft()
                try:
                    result: Assessment | Rejection = future.result()
                except Rejection as rejection:
                    result = rejection
                yield source, result
                submit(1)
        finally:
            for _, future in waiting:
                future.cancel()
