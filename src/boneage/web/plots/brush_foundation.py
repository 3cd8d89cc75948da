"""Bone age of healthy children by age: the Brush Foundation study, as printed in Greulich & Pyle 1959, Tables III
(boys) and IV (girls). Numbers only.

They were transcribed three times by different people: the projects lolzballs/mie429 at e1e3da4 and dfnr2/bone-age-app
at e871c54 (deviations only), and a file after Gaskin et al. 2011, Tables 1 and 2. The transcriptions agree except for
the girls' mean at 132 months: 137.87 here, 137.86 in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.sex import Sex

_TABLES: Mapping[Sex, tuple[tuple[float, float, float], ...]] = MappingProxyType(
    {
        Sex.MALE: (
            (3.0, 3.01, 0.69),
            (6.0, 6.09, 1.13),
            (9.0, 9.56, 1.43),
            (12.0, 12.74, 1.97),
            (18.0, 19.36, 3.52),
            (24.0, 25.97, 3.92),
            (30.0, 32.4, 4.52),
            (36.0, 38.21, 5.08),
            (42.0, 43.89, 5.4),
            (48.0, 49.04, 6.66),
            (54.0, 56.0, 8.36),
            (60.0, 62.43, 8.79),
            (72.0, 75.46, 9.17),
            (84.0, 88.2, 8.91),
            (96.0, 101.38, 9.1),
            (108.0, 113.9, 9.0),
            (120.0, 125.68, 9.79),
            (132.0, 137.32, 10.09),
            (144.0, 148.82, 10.38),
            (156.0, 158.39, 10.44),
            (168.0, 170.02, 10.72),
            (180.0, 182.72, 11.32),
            (192.0, 195.32, 12.86),
            (204.0, 206.21, 13.05),
        ),
        Sex.FEMALE: (
            (3.0, 3.02, 0.72),
            (6.0, 6.04, 1.16),
            (9.0, 9.05, 1.36),
            (12.0, 12.04, 1.77),
            (18.0, 18.22, 3.49),
            (24.0, 24.16, 4.64),
            (30.0, 30.96, 5.37),
            (36.0, 36.63, 5.97),
            (42.0, 43.5, 7.48),
            (48.0, 50.14, 8.98),
            (54.0, 60.06, 10.73),
            (60.0, 66.21, 11.65),
            (72.0, 78.5, 10.23),
            (84.0, 89.3, 9.64),
            (96.0, 100.66, 10.23),
            (108.0, 113.86, 10.74),
            (120.0, 125.66, 11.73),
            (132.0, 137.87, 11.94),
            (144.0, 149.62, 10.24),
            (156.0, 162.28, 10.67),
            (168.0, 174.25, 11.3),
            (180.0, 183.62, 9.23),
            (192.0, 189.44, 7.31),
        ),
    }
)
"""Chronological age, mean bone age and standard deviation of the bone age by sex, all in months."""


def range_months(sex: Sex) -> tuple[float, float]:
    """Return the ages of the youngest and the oldest children of the study, months."""
    return _TABLES[sex][0][0], _TABLES[sex][-1][0]


def mean_and_deviation(sex: Sex, months: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the bone age, months, linearly interpolated between the ages of the tables.

    Args:
        sex: sex of the children.
        months: chronological ages, any shape; the result is NaN outside `range_months`.
    """
    ages, means, deviations = np.asarray(_TABLES[sex], dtype=np.float64).T
    wanted = np.asarray(months, dtype=np.float64)
    return (
        np.interp(wanted, ages, means, left=np.nan, right=np.nan),
        np.interp(wanted, ages, deviations, left=np.nan, right=np.nan),
    )
