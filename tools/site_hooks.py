"""Hooks of the documentation site (mkdocs): pages of the root, links that leave the documentation, and diagrams.

The theme would load the library of diagrams (Mermaid) from another host. If `make diagrams` has fetched it, it becomes
a part of the site; otherwise diagrams are shown as their text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = ("MODEL_CARD.md", "CONTRIBUTING.md", "CHANGELOG.md")
"""Pages of the root that the site shows."""
MERMAID = ROOT / "out" / "mermaid" / "package" / "dist" / "mermaid.min.js"
MERMAID_ADDRESS = "assets/mermaid.min.js"
LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Draw diagrams by the site's own library, or show their text."""
    if MERMAID.is_file():
        config.extra_javascript.append(MERMAID_ADDRESS)
    else:
        config.mdx_configs["pymdownx.superfences"]["custom_fences"] = []
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and the library of diagrams."""
    for name in ROOT_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    if MERMAID.is_file():
        files.append(File.generated(config, MERMAID_ADDRESS, abs_src_path=str(MERMAID)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the site; a link to any other file of the repository becomes the file's path."""
    is_of_root = page.file.src_uri in ROOT_PAGES
    folder = ROOT if is_of_root else (ROOT / "docs" / page.file.src_uri).parent
    up = "../" * page.file.src_uri.count("/")

    def on_site(link: re.Match[str]) -> str:
        text, target, anchor = link.group(1), link.group(2), link.group(3) or ""
        path = (folder / target).resolve()
        if not path.is_relative_to(ROOT):
            return link.group(0)  # mkdocs reports it
        inside = path.relative_to(ROOT).as_posix()
        if inside in ROOT_PAGES:
            return f"[{text}]({up}{inside}{anchor})"
        if inside == "README.md":
            return f"[{text}]({up}index.md{anchor})"
        if inside.startswith("docs/"):
            return f"[{text}]({up}{inside.removeprefix('docs/')}{anchor})"
        return f"{text} (`{inside}`)"

    return LINK.sub(on_site, markdown)
