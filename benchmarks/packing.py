"""Cost of a packed training: estimates on views of packed radiographs beside those on views of the originals.

    python benchmarks/packing.py --radiographs radiographs.csv --cache cache --archive training.zip

The radiographs are drawn from the split `validation`. Views are cut as in training, with the hands of the table and
those of the archive. The estimate is the weighted mean of the bundle's networks, without calibration. With `--located
N`, hands are located again on N packed radiographs. The output is Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.errors import Rejection
from boneage.evaluate.tables import markdown_table
from boneage.hand.registration import HAND_LENGTH
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import EpochViews
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.splits import draw_radiographs
from boneage.train.data.unpack import unpacked_table
from boneage.train.recipe import DataOptions

SIDE = DataOptions().longest_side


@dataclass(frozen=True)
class Views:
    """Radiographs with what their views are cut from."""

    radiographs: Sequence[LabelledRadiograph]
    cache: RadiographCache
    hands: HandTable

    def estimates(self, bundle: Bundle) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        """Return the estimates of each network, months (M, N), and the views of each network, (N, h, w)."""
        ages, shown = [], []
        for member in bundle.members:
            views = EpochViews(self.radiographs, self.cache, member.view, hands=self.hands)
            batch = np.stack([views[row][0][0].numpy() for row in range(len(views))])
            outputs = bundle.run_batch(member, batch, [one.sex for one in self.radiographs], plain=True)
            ages.append([output.age_months for output in outputs])
            shown.append(batch)
        return np.array(ages), shown


def rows_of(
    name: str, labels: NDArray[np.float64], original: NDArray[np.float64], packed: NDArray[np.float64]
) -> tuple[str, ...]:
    """Return a row of the table of estimates."""
    moved = np.abs(packed - original)
    mads = [float(np.abs(ages - labels).mean()) for ages in (original, packed)]
    return (
        name,
        str(len(labels)),
        f"{moved.mean():.2f}",
        f"{np.percentile(moved, 95):.2f}",
        f"{moved.max():.2f}",
        f"{mads[0]:.2f}",
        f"{mads[1]:.2f}",
    )


def located_again(bundle: Bundle, packed: Views, count: int) -> str:
    """Return a sentence on hands that are located on packed radiographs."""
    shifts = []
    for radiograph in packed.radiographs[:count]:
        try:
            hand = bundle.find_hand(packed.cache.pixels(radiograph.id))
        except Rejection:
            continue
        stored = packed.hands.hand(radiograph.id)
        in_frame = stored.radiograph_to_frame.points(hand.points_xy) - stored.radiograph_to_frame.points(
            stored.points_xy
        )
        shifts.append(100 * np.hypot(*in_frame.T) / HAND_LENGTH)
    moved = np.array(shifts)
    return (
        f"Hands located again on {len(moved)} of {min(count, len(packed.radiographs))} packed radiographs: key points"
        f" move by {np.median(moved):.2f} % of the hand's length in the median, {np.percentile(moved, 95):.2f} % at the"
        " 95th percentile."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the originals' cache and hands")
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--bundle", default="standard")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--located", type=int, default=0)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle, threads=1)
    table = read_radiographs(options.radiographs)
    cache = build_cache(table, options.cache, longest_side=SIDE)
    hands = open_hands(options.bundle, table, cache)
    chosen = [one for one in radiographs_of_split(table, "validation") if one.id in hands]
    chosen = draw_radiographs(chosen, options.count, seed=0)
    with TemporaryDirectory() as scratch:
        unpacked = {one.id: one for one in read_radiographs(unpacked_table(options.archive, Path(scratch)))}
        again = [unpacked[one.id] for one in chosen]
        packed_cache = build_cache(again, Path(scratch), longest_side=SIDE)
        packed = Views(again, packed_cache, open_hands(options.bundle, again, packed_cache))
        originals = Views(chosen, cache, hands)
        (ages, views), (packed_ages, packed_views) = originals.estimates(bundle), packed.estimates(bundle)
        weights = [member.weight for member in bundle.members]
        labels = np.array([one.boneage_months for one in chosen])
        mean, packed_mean = (np.average(each, axis=0, weights=weights) for each in (ages, packed_ages))
        resolutions = np.array([one.groups.get("resolution", "") for one in chosen])
        rows = [rows_of("all networks", labels, mean, packed_mean)]
        for resolution in sorted(set(resolutions)):
            of = resolutions == resolution
            rows.append(rows_of(f"all networks, {resolution}", labels[of], mean[of], packed_mean[of]))
        for number, member in enumerate(bundle.members):
            rows.append(rows_of(member.name, labels, ages[number], packed_ages[number]))
        heads = ("networks", "radiographs", "mean change", "95 %", "largest", "MAD original", "MAD packed")
        print("\n".join(markdown_table(heads, rows)))
        differences = [float(np.abs(one - other).mean()) for one, other in zip(views, packed_views, strict=True)]
        print(f"Views: mean difference {min(differences):.3f} to {max(differences):.3f} spreads, by network.")
        if options.located:
            print(located_again(bundle, packed, options.located))


if __name__ == "__main__":
    main()
