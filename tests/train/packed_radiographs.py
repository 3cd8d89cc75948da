"""A table of drawn radiographs with a split and groups, and a training archive of it, for tests of packing."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from boneage.phantom import draw_hand
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.pack import pack
from boneage.train.data.unpack import RECORD, checksum_of
from tests.bundles import tiny_bundle
from tests.hand_graphs import picture_without_hand

HAND_PIXELS = 130.0
"""Length to which the hands of 151 pixels are reduced."""


@dataclass(frozen=True)
class DrawnTable:
    """Radiographs, their cache, and the hands that the bundle `finder` locates on them."""

    table: Path
    radiographs: list[LabelledRadiograph]
    cache: RadiographCache
    hands: HandTable
    finder: Path

    def pack(self, out: Path, megabytes: float = 1.0) -> Path:
        """Write an archive and return its path."""
        pack(
            self.radiographs,
            self.cache,
            self.hands,
            out,
            plan="small",
            hand_pixels=HAND_PIXELS,
            hand_greys=True,
            megabytes=megabytes,
        )
        return out


def draw_table(folder: Path, count: int = 6) -> DrawnTable:
    """Draw hands of a left and a right side, upright, turned and inverted, one picture without a hand, and a broken
    file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["id,boneage,male,split,place,image"]
    for number, years in enumerate(np.linspace(3, 16, count)):
        pixels = draw_hand(float(years), height=280, width=210, seed=number)
        wide = np.pad(pixels, ((14, 28), (50, 0)), constant_values=float(pixels[0, 0]))
        shown = (wide, wide[:, ::-1], np.rot90(pixels), 1 - wide)[number % 4]
        cv2.imwrite(str(folder / f"{number}.png"), np.rint(shown * 255).astype(np.uint8))
        split = "validation" if number % 3 == 2 else "train"
        rows.append(f"r/{number},{years * 12:.2f},{number % 2 == 0},{split},={number},{number}.png")
    cv2.imwrite(str(folder / "none.png"), picture_without_hand(300, 240))
    (folder / "broken.png").write_bytes(b"no picture")
    rows += ["none,100,True,train,,none.png", "broken,100,True,train,,broken.png"]
    table = folder / "radiographs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    finder = tiny_bundle(folder / "finder", name="finder", views=(), hand=True, metrics={})
    radiographs = read_radiographs(table)
    cache = build_cache(radiographs, folder / "cache", longest_side=2048)
    return DrawnTable(table, radiographs, cache, open_hands(str(finder), radiographs, cache), finder)


def files_of(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive by name."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def archive_of(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of these files, with the right checksum in its record."""
    record = json.loads(files[RECORD])
    others = {name: content for name, content in files.items() if name != RECORD}
    record["sha256"] = checksum_of(sorted(others.items()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in {RECORD: json.dumps(record).encode(), **others}.items():
            archive.writestr(name, content)
    return buffer.getvalue()
