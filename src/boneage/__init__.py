"""Bone age from a radiograph of the hand.

>>> import boneage
>>> boneage.assess("hand.dcm", sex="F").age_text  # doctest: +SKIP
'7 years 3 months'

Names are loaded when they are first used, so that ``import boneage`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneage.assessment import Assessment, BothSexesAssessment
    from boneage.bundle.bundle import Bundle
    from boneage.composition import assess, assess_for_both_sexes
    from boneage.errors import BoneageError, Rejection
    from boneage.many import assess_many
    from boneage.sex import Sex

__all__ = [
    "Assessment",
    "BoneageError",
    "BothSexesAssessment",
    "Bundle",
    "Rejection",
    "Sex",
    "__version__",
    "assess",
    "assess_for_both_sexes",
    "assess_many",
]

_HOME = {
    "Assessment": "boneage.assessment",
    "BothSexesAssessment": "boneage.assessment",
    "assess": "boneage.composition",
    "assess_many": "boneage.many",
    "assess_for_both_sexes": "boneage.composition",
    "Bundle": "boneage.bundle.bundle",
    "BoneageError": "boneage.errors",
    "Rejection": "boneage.errors",
    "Sex": "boneage.sex",
}
"""The module of each public name. No module of this package may have one of these names: importing it would bind its
name here and hide the function (so `assess` lives in ``composition``)."""


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # slow to import, seldom asked for

        return version("boneage")
    if name not in _HOME:
        raise AttributeError(f"module 'boneage' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # see above

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names and the loaded ones."""
    return sorted({*globals(), *__all__})
