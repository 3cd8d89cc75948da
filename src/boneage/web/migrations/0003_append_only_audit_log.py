from collections.abc import Callable, Mapping
from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from boneage.web.accounts.append_only import GUARDS, UNGUARDS


def _run(statements: Mapping[str, list[str]]) -> Callable[[Any, BaseDatabaseSchemaEditor], None]:
    def run(_apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
        for statement in statements[editor.connection.vendor]:
            editor.execute(statement)

    return run


class Migration(migrations.Migration):
    dependencies = [("web", "0002_user_password_is_temporary")]

    operations = [migrations.RunPython(_run(GUARDS), _run(UNGUARDS))]
