"""Command ``boneage doctor``: what is installed, whether it is whole, and how fast it is here."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click

from boneage.processor import cores

PLATE = "F-132"
"""Plate that is assessed: 11 years."""
FARTHEST_MONTHS = 12.0
"""Largest difference of its estimate from its age, months; the shipped bundles differ by 1 to 5."""

_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "pydicom", "pyjpegls", "babel", "click")
_DEVELOPMENT = "dev"
"""Extra for work on the program itself, which is not listed."""
_NEEDED_BY = re.compile(r"""(?P<name>[\w.-]+)[^;]*;.*\bextra\s*==\s*['"](?P<extra>[\w.-]+)['"]""")
"""Requirement of an extra as package metadata has it: ``torch>=2.10; extra == "train"``."""
_FEATURES = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "sve")
"""Vector instructions that ONNX Runtime uses, as Linux names them."""


@click.command()
@click.option("--bundle", default="default", show_default=True, help="Name or folder of the model bundle.")
def doctor(bundle: str) -> None:
    """Print what is installed, check the bundle and the atlas, and assess a reference plate of a known age.

    The output has no personal data and helps with a report of a fault. The command fails if a check fails.
    """
    click.echo(f"boneage {version('boneage')} in {Path(__file__).parents[1]}")
    click.echo(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}")
    click.echo(f"Processor: {cores()} cores, {', '.join(_features()) or 'vector instructions unknown'}")
    click.echo("Packages: " + ", ".join(f"{name} {_version(name) or 'missing'}" for name in _PACKAGES))
    for extra, names in _extras().items():
        missing = [name for name in names if _version(name) is None]
        state = f"not installed (missing: {', '.join(missing)})" if missing else "installed"
        click.echo(f"Extra {extra}: {state}")
    _check_settings()
    _check_bundle(bundle)
    _assess_plate(bundle)
    click.echo("Everything works.")


def _extras() -> dict[str, list[str]]:
    """Return the extras by the metadata of the installed package, with the names of their packages."""
    extras: dict[str, list[str]] = {}
    for requirement in requires("boneage") or []:
        needed = _NEEDED_BY.match(requirement)
        if needed is not None and needed["extra"] != _DEVELOPMENT:
            extras.setdefault(needed["extra"], []).append(needed["name"])
    return extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _features() -> list[str]:
    """Return the vector instructions of the processor; empty where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [feature for feature in _FEATURES if feature in flags]


def _check_settings() -> None:
    """Print variables that look like settings and are not."""
    import os

    if _version("Django") is None:
        return
    from boneage.web.configuration import unknown_variables

    for name in unknown_variables(os.environ):
        click.echo(f"Setting {name}: unknown, and ignored")


def _check_bundle(name: str) -> None:
    from boneage.bundle.bundle import Bundle
    from boneage.bundle.check import check_bundle
    from boneage.errors import BundleError

    opened = Bundle.open(name)
    results = check_bundle(opened)
    failed = [f"{result.name} ({result.detail})" for result in results if not result.passed]
    manifest = opened.manifest
    click.echo(
        f"Bundle {manifest.name} {manifest.version}: {len(results) - len(failed)} of {len(results)} checks passed"
    )
    if failed:
        raise BundleError("bundle_check_failed", f"The bundle fails checks: {', '.join(failed)}.")


def _assess_plate(name: str) -> None:
    """Assess the plate twice, so that the second time is that of a program that runs already."""
    from boneage.atlas import Atlas
    from boneage.bundle.bundle import Bundle
    from boneage.composition import assess
    from boneage.errors import BundleError

    atlas = Atlas.open()
    plate = atlas.plate(PLATE)
    opened = Bundle.open(name)
    for _ in range(2):
        result = assess(atlas.picture_bytes(plate)[0], plate.sex, opened, name=PLATE)
    difference = result.age_months - plate.age_months
    click.echo(f"Plate {PLATE}: {result.age_text} ({difference:+.1f} months), in {result.timings_ms['total']:.0f} ms")
    if abs(difference) > FARTHEST_MONTHS:
        raise BundleError(
            "bundle_check_failed",
            f"The plate {PLATE} is read {difference:+.1f} months from its age; the limit is {FARTHEST_MONTHS:.0f}.",
        )
