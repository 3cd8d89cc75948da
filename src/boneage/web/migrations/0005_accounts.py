from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import boneage.web.models
from boneage.web.user_names import appearance_of


def _set_appearances(apps: Any, _editor: BaseDatabaseSchemaEditor) -> None:
    """Users of before keep their names; of those that look alike, only the first holds the appearance."""
    taken: set[str] = set()
    for user in apps.get_model("web", "User").objects.order_by("pk"):
        look = appearance_of(user.username)
        user.appearance = f"{look[:130]} {user.pk}" if look in taken else look
        taken.add(look)
        user.save(update_fields=["appearance"])


def _end_sessions_of_before(apps: Any, _editor: BaseDatabaseSchemaEditor) -> None:
    """Sessions are kept in another table from now on."""
    apps.get_model("sessions", "Session").objects.all().delete()


def _nothing(_apps: Any, _editor: BaseDatabaseSchemaEditor) -> None:
    """Going back needs nothing."""


class Migration(migrations.Migration):
    dependencies = [("web", "0004_sending"), ("sessions", "0001_initial")]

    operations = [
        migrations.AddField("user", "password_expires_at", models.DateTimeField(editable=False, null=True)),
        migrations.AddField("user", "appearance", models.CharField(default="", editable=False, max_length=150)),
        migrations.RunPython(_set_appearances, _nothing),
        migrations.AlterField("user", "appearance", models.CharField(editable=False, max_length=150, unique=True)),
        # Both may be null and have no default: SQLite then adds the columns and leaves the log's triggers alone.
        migrations.AddField("auditevent", "account", models.BigIntegerField(null=True)),
        migrations.AddField("auditevent", "address", models.GenericIPAddressField(null=True)),
        migrations.AddField(
            "apitoken",
            "scope",
            models.CharField(
                choices=[("read", "Read"), ("submit", "Read and submit"), ("full", "Everything that you may do")],
                default="full",
                max_length=8,
            ),
        ),
        migrations.AddField(
            "apitoken", "expires_at", models.DateTimeField(default=boneage.web.models.latest_token_end)
        ),
        migrations.CreateModel(
            name="BrowserSession",
            fields=[
                (
                    "session_key",
                    models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="session key"),
                ),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                ("begun_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("seen_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("address", models.GenericIPAddressField(null=True)),
                ("agent", models.CharField(blank=True, max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"verbose_name": "session", "verbose_name_plural": "sessions", "abstract": False},
        ),
        migrations.RunPython(_end_sessions_of_before, _nothing),
    ]
