"""Command ``boneage height`` for adult height by published methods."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from boneage.commands.assess_options import checked_age, checked_language, checked_sex

if TYPE_CHECKING:
    from boneage.clinical.ages import ChronologicalAge

_CONDITIONS = {
    "treatment": "under_treatment",
    "precocious-puberty": "precocious_puberty",
    "dysplasia": "skeletal_dysplasia",
    "turner": "turner_syndrome",
    "sga": "small_for_gestational_age",
    "none": "",
}
"""Conditions as they are typed, with their codes."""


@click.command()
@click.option("--sex", metavar="F|M", required=True, callback=checked_sex, help="Sex of the child.")
@click.option(
    "--age",
    metavar="YEARS|13y6m",
    required=True,
    callback=checked_age,
    help="Chronological age at the radiograph. A prediction needs years and months.",
)
@click.option("--bone-age", metavar="13y6m", callback=checked_age, help="Bone age (Greulich & Pyle), years and months.")
@click.option(
    "--bone-age-interval",
    type=(float, float),
    metavar="LOW HIGH",
    help="80 % prediction interval of an estimated bone age, months.",
)
@click.option("--height", "height_cm", type=float, metavar="CM", help="Standing height without shoes.")
@click.option(
    "--height-days", type=int, metavar="DAYS", help="Days from the radiograph to the height; negative if before."
)
@click.option("--weight", "weight_kg", type=float, metavar="KG", help="Weight, measured with the height.")
@click.option("--mother", "mother_cm", type=float, metavar="CM", help="Height of the mother.")
@click.option("--father", "father_cm", type=float, metavar="CM", help="Height of the father.")
@click.option("--parents-measured", is_flag=True, help="The heights of the parents were measured, not reported.")
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    type=click.Choice(list(_CONDITIONS)),
    help="Condition for which no prediction is valid; none if all are excluded. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option(
    "--language",
    default="en",
    show_default=True,
    metavar="LANGUAGE",
    callback=checked_language,
    help="Language of the printed lines: en, de, es, fr, pt_BR or zh_Hans.",
)
def height(
    *,
    sex: str,
    age: ChronologicalAge,
    bone_age: ChronologicalAge | None,
    bone_age_interval: tuple[float, float] | None,
    height_cm: float | None,
    height_days: int | None,
    weight_kg: float | None,
    mother_cm: float | None,
    father_cm: float | None,
    parents_measured: bool,
    conditions: tuple[str, ...],
    as_json: bool,
    language: str,
) -> None:
    """Print the adult height by published methods side by side, each with its range or the reason why it gives none.

    \b
    Example:
      boneage height --sex M --age 12y3m --bone-age 11y0m --height 143.5 --weight 36 --mother 165 --father 178
    """
    from boneage import words
    from boneage.clinical.height import HeightInputs, HeightSource, ParentHeight, predict_adult_height
    from boneage.clinical.height.codes import Contraindication
    from boneage.clinical.height.documents import adult_height_document
    from boneage.report.adult_height import adult_height_content
    from boneage.sex import Sex
    from boneage.strict import to_plain

    source = HeightSource.MEASURED if parents_measured else HeightSource.REPORTED
    present = frozenset(Contraindication(_CONDITIONS[one]) for one in conditions if one != "none")
    if "none" in conditions and present:
        raise click.UsageError("--condition none contradicts another condition.")
    inputs = HeightInputs(
        sex=Sex.parse(sex),
        age_months=age.middle_months,
        age_exact=age.is_known_to_the_month,
        bone_age_months=None if bone_age is None else bone_age.lower_months,
        bone_age_interval_80=bone_age_interval,
        height_cm=height_cm,
        height_days_from_radiograph=height_days,
        weight_kg=weight_kg,
        mother=None if mother_cm is None else ParentHeight(mother_cm, source),
        father=None if father_cm is None else ParentHeight(father_cm, source),
        contraindications=present if conditions else None,
    )
    table = predict_adult_height(inputs)
    if as_json:
        click.echo(json.dumps(to_plain(adult_height_document(table)), ensure_ascii=False, allow_nan=False))
        return
    with words.use_language(language):
        click.echo("\n".join(adult_height_content(table).lines))
