"""Progress bars of a run."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(items: Any, title: str, *, quiet: bool) -> Any:
    """Wrap items in a progress bar, which is shown in a terminal only and never if `quiet`."""
    return tqdm(items, desc=title, leave=False, disable=quiet or None)
