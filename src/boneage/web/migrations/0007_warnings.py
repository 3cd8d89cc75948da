from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_RANKS = {"critical": 0, "caution": 1, "info": 2}
_SEVERITIES = {
    "phantom": "critical",
    "outside_training_range": "critical",
    "read_inverted": "info",
    "read_mirrored": "info",
}
"""Of the codes of before; all others were, and are, reasons for caution."""


def _with_severities(flags: list[dict[str, Any]]) -> list[dict[str, Any]]:
    graded = [{**flag, "severity": _SEVERITIES.get(flag["code"], "caution")} for flag in flags]
    return sorted(graded, key=lambda warning: _RANKS[warning["severity"]])


def _name_warnings(apps: Any, _editor: BaseDatabaseSchemaEditor) -> None:
    """Results of before have flags, which are warnings by now."""
    assessments = apps.get_model("web", "Assessment").objects
    for assessment in assessments.filter(result__flags__isnull=False).only("result").iterator(chunk_size=100):
        result = assessment.result
        result["warnings"] = _with_severities(result.pop("flags"))
        web = result.get("web", {})
        if "flags" in web:
            web["warnings"] = _with_severities(web.pop("flags"))
        assessment.save(update_fields=["result"])


def _nothing(_apps: Any, _editor: BaseDatabaseSchemaEditor) -> None:
    """Going back needs nothing."""


class Migration(migrations.Migration):
    dependencies = [("web", "0006_submission_key")]

    operations = [migrations.RunPython(_name_warnings, _nothing)]
