"""The bundles that come with the package, and the search for a bundle by its name or folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boneage.bundle.manifest import MANIFEST_NAME, NAME, Manifest, read_manifest
from boneage.errors import BundleError

DEFAULT_BUNDLE = "standard"
"""Name of the shipped bundle that ``default`` stands for."""

SHIPPED = Path(__file__).parents[1] / "bundles"
"""Folder of the bundles that come with the package."""


@dataclass(frozen=True)
class BundleSummary:
    """A shipped bundle in a list. Without metrics in the manifest, `mad_months` has the value None."""

    name: str
    version: str
    title: str
    created: str
    members: int
    mad_months: float | None
    is_default: bool
    directory: Path


def shipped_or_folder(name_or_dir: str | Path, shipped: Path, marker: str, default: str) -> Path | None:
    """Return the folder that a name or a path means, of bundles and of atlases, or None.

    Args:
        name_or_dir: ``default``, the name of a shipped one, or a folder. A `Path` is always a folder.
        shipped: folder of all shipped ones.
        marker: name of the file that each of them contains.
        default: name that ``default`` stands for.
    """
    if isinstance(name_or_dir, str) and NAME.fullmatch(name_or_dir):
        if name_or_dir == "default":
            return shipped / default
        if (shipped / name_or_dir / marker).is_file():
            return shipped / name_or_dir
    directory = Path(name_or_dir)
    return directory if directory.is_dir() else None


def find_bundle(name_or_dir: str | Path) -> Path:
    """Return the folder of a bundle.

    Args:
        name_or_dir: name or folder, with the same meaning as in `shipped_or_folder`.

    Raises:
        BundleError: ``bundle_not_found``.
    """
    directory = shipped_or_folder(name_or_dir, SHIPPED, MANIFEST_NAME, DEFAULT_BUNDLE)
    if directory is None:
        raise BundleError("bundle_not_found", f"{name_or_dir} is neither a shipped bundle nor a folder.")
    return directory


def list_bundles(directory: Path = SHIPPED) -> list[BundleSummary]:
    """List the bundles in a folder by name, without reading their graphs. The default is the package's folder.

    Raises:
        BundleError: ``bundle_invalid`` for a folder whose manifest cannot be read.
    """
    folders = sorted(path.parent for path in directory.glob(f"*/{MANIFEST_NAME}"))
    return [_summary(folder, read_manifest(folder)) for folder in folders]


def _summary(directory: Path, manifest: Manifest) -> BundleSummary:
    return BundleSummary(
        name=manifest.name,
        version=manifest.version,
        title=manifest.title,
        created=manifest.created,
        members=len(manifest.members),
        mad_months=manifest.metrics.get("mad_months"),
        is_default=directory == SHIPPED / DEFAULT_BUNDLE,
        directory=directory,
    )
