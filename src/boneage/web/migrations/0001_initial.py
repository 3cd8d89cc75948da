import uuid
from collections.abc import Callable, Mapping
from typing import Any

import django.contrib.auth.models
import django.contrib.auth.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import boneage.web.models
from boneage.web.accounts.append_only import GUARDS, UNGUARDS


def _run(statements: Mapping[str, list[str]]) -> Callable[[Any, BaseDatabaseSchemaEditor], None]:
    def run(_apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
        for statement in statements[editor.connection.vendor]:
            editor.execute(statement)

    return run


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[django.contrib.auth.validators.UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email address")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                ("date_joined", models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined")),
                (
                    "role",
                    models.CharField(
                        choices=[("reader", "Reader"), ("reviewer", "Reviewer"), ("administrator", "Administrator")],
                        default="reader",
                        max_length=16,
                    ),
                ),
                ("password_is_temporary", models.BooleanField(default=False)),
                ("password_expires_at", models.DateTimeField(editable=False, null=True)),
                ("appearance", models.CharField(editable=False, max_length=150, unique=True)),
                ("sign_on", models.CharField(editable=False, max_length=512, null=True, unique=True)),
                ("credential", models.CharField(blank=True, default="", max_length=64)),
                ("departments", models.JSONField(blank=True, default=list)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "verbose_name_plural": "users",
                "abstract": False,
            },
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("user_name", models.CharField(max_length=150)),
                ("account", models.BigIntegerField(null=True)),
                ("address", models.GenericIPAddressField(null=True)),
                ("action", models.CharField(db_index=True, max_length=32)),
                ("object_type", models.CharField(blank=True, max_length=16)),
                ("object_id", models.CharField(blank=True, db_index=True, max_length=64)),
                ("detail", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="AuditExport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("destination", models.CharField(max_length=255, unique=True)),
                ("last_event", models.BigIntegerField(default=0)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="Case",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("reference", models.CharField(max_length=160)),
                ("department", models.CharField(blank=True, default="", max_length=32)),
                (
                    "sex",
                    models.CharField(
                        choices=[("F", "Female"), ("M", "Male"), ("both", "Unknown or other")], max_length=4
                    ),
                ),
                ("birth_date", models.DateField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("changed_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="Decision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "verdict",
                    models.CharField(choices=[("accepted", "Accepted"), ("corrected", "Corrected")], max_length=16),
                ),
                ("age_months", models.FloatField()),
                ("reason", models.TextField(blank=True, max_length=2000)),
                ("decided_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["decided_at", "pk"],
            },
        ),
        migrations.CreateModel(
            name="Picture",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("upload", "Upload"),
                            ("radiograph", "Radiograph"),
                            ("grey", "Grey"),
                            ("thumbnail", "Thumbnail"),
                            ("heat", "Heat"),
                        ],
                        max_length=16,
                    ),
                ),
                ("media_type", models.CharField(max_length=64)),
                ("data", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="RecoveryCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="Sending",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("client", models.CharField(max_length=64)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="SubmissionKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("request_digest", models.CharField(max_length=64)),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="SecondFactor",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("secret", models.CharField(max_length=255)),
                ("last_step", models.BigIntegerField(default=0)),
                ("set_up_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=64)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("read", "Read"),
                            ("submit", "Read and submit"),
                            ("full", "Everything your role allows"),
                        ],
                        default="full",
                        max_length=8,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(default=boneage.web.models.latest_token_end)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tokens", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Assessment",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("running", "Being assessed"),
                            ("done", "Assessed"),
                            ("rejected", "Rejected"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=8,
                    ),
                ),
                ("department", models.CharField(blank=True, db_index=True, default="", max_length=32)),
                (
                    "submitted_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now, editable=False),
                ),
                ("client", models.CharField(blank=True, db_index=True, max_length=64)),
                ("radiograph_name", models.CharField(blank=True, max_length=255)),
                ("radiograph_bytes", models.PositiveBigIntegerField()),
                ("radiograph_sha256", models.CharField(max_length=64)),
                ("pixels_sha256", models.CharField(blank=True, db_index=True, default="", max_length=64)),
                (
                    "sex",
                    models.CharField(
                        choices=[("F", "Female"), ("M", "Male"), ("both", "Unknown or other")], max_length=4
                    ),
                ),
                ("birth_date", models.DateField(blank=True, null=True)),
                ("study_date", models.DateField(blank=True, null=True)),
                ("given_age_months", models.FloatField(blank=True, null=True)),
                ("given_age_precision", models.CharField(blank=True, default="", max_length=6)),
                ("note", models.TextField(blank=True, max_length=2000)),
                ("task_id", models.UUIDField(editable=False, null=True)),
                ("attempt", models.PositiveIntegerField(default=0, editable=False)),
                ("hangs", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("worker", models.CharField(blank=True, editable=False, max_length=64)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
                ("expires_at", models.DateTimeField(db_index=True, editable=False, null=True)),
                ("code", models.CharField(blank=True, max_length=64)),
                ("message", models.TextField(blank=True)),
                ("age_months", models.FloatField(null=True)),
                ("chronological_age_months", models.FloatField(null=True)),
                ("chronological_age_precision", models.CharField(blank=True, default="", max_length=6)),
                ("result", models.JSONField(null=True)),
                ("same_radiograph_elsewhere", models.BooleanField(default=False, editable=False)),
                ("decision", models.CharField(blank=True, default="", max_length=16)),
                ("decided_months", models.FloatField(null=True)),
                ("severity", models.CharField(blank=True, default="", max_length=8)),
                ("is_meaningless", models.BooleanField(default=False)),
                ("difference_months", models.FloatField(null=True)),
                ("sds", models.FloatField(null=True)),
                ("determination", models.CharField(blank=True, default="", max_length=10)),
                ("determination_reason", models.CharField(blank=True, default="", max_length=24)),
                (
                    "submitted_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "superseded_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="supersedes",
                        to="web.assessment",
                    ),
                ),
            ],
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
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Measurements",
            fields=[
                (
                    "case",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="measurements",
                        serialize=False,
                        to="web.case",
                    ),
                ),
                ("height_cm", models.FloatField(null=True)),
                ("height_date", models.DateField(null=True)),
                ("weight_kg", models.FloatField(null=True)),
                ("mother_cm", models.FloatField(null=True)),
                ("mother_source", models.CharField(blank=True, default="", max_length=8)),
                ("father_cm", models.FloatField(null=True)),
                ("father_source", models.CharField(blank=True, default="", max_length=8)),
                ("menarche", models.BooleanField(null=True)),
                ("menarche_age_months", models.FloatField(null=True)),
                ("contraindications", models.JSONField(null=True)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.UniqueConstraint(
                fields=("reference", "department"), name="one_case_of_a_child_in_a_department"
            ),
        ),
        migrations.AddField(
            model_name="assessment",
            name="case",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="assessments",
                to="web.case",
            ),
        ),
        migrations.AddField(
            model_name="decision",
            name="assessment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="decisions", to="web.assessment"
            ),
        ),
        migrations.AddField(
            model_name="decision",
            name="decided_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="picture",
            name="assessment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="pictures", to="web.assessment"
            ),
        ),
        migrations.AddField(
            model_name="recoverycode",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="recovery_codes", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddIndex(
            model_name="sending",
            index=models.Index(fields=["client", "at"], name="web_sending_client_d691a0_idx"),
        ),
        migrations.AddField(
            model_name="submissionkey",
            name="assessment",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="web.assessment"),
        ),
        migrations.AddIndex(
            model_name="assessment",
            index=models.Index(fields=["state", "lease_until"], name="web_assessm_state_0abcbc_idx"),
        ),
        migrations.AddConstraint(
            model_name="picture",
            constraint=models.UniqueConstraint(fields=("assessment", "kind"), name="one_picture_of_a_kind"),
        ),
        migrations.RunPython(_run(GUARDS), _run(UNGUARDS)),
    ]
