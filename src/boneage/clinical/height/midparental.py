"""Target height: the height that the parents' heights make likely.

Tanner JM, Goldstein H, Whitehouse RH. Standards for children's height at ages 2-9 years allowing for height of parents.
Arch Dis Child 1970;45:755-762. Children of very short or very tall parents tend to be nearer to the mean of the
population than the target height.
"""

from __future__ import annotations

from boneage.sex import Sex

SEX_DIFFERENCE_CM = 13.0
"""Mean difference in cm of adult men and women that the formula assumes."""
HALF_RANGE_CM = 8.5
"""Half of the target range in cm, for both sexes. Narrower ranges for girls are in use as well; the wider is shown."""


def target_height(sex: Sex, mother_cm: float, father_cm: float) -> float:
    """Return (father + mother + 13) / 2 for boys and (father + mother - 13) / 2 for girls, in cm."""
    return (father_cm + mother_cm + (SEX_DIFFERENCE_CM if sex is Sex.MALE else -SEX_DIFFERENCE_CM)) / 2
