import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("web", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Contact",
            fields=[
                ("peer", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("received_at", models.DateTimeField(null=True)),
                ("reached_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("code", models.CharField(blank=True, max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="Instance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sop_instance_uid", models.CharField(max_length=64, unique=True)),
                ("sop_class_uid", models.CharField(max_length=64)),
                ("peer", models.CharField(max_length=32)),
                ("department", models.CharField(blank=True, default="", max_length=32)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting for the rest of its study"),
                            ("reserve", "Read only if another radiograph is rejected"),
                            ("needs_sex", "Waiting for the sex"),
                            ("queued", "Being assessed"),
                            ("rendered", "Assessed"),
                            ("skipped", "Not read"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=32)),
                ("uid_conflicts", models.PositiveIntegerField(default=0)),
                ("study_uid", models.CharField(blank=True, db_index=True, max_length=64)),
                ("patient_id", models.CharField(blank=True, max_length=64)),
                ("issuer", models.CharField(blank=True, max_length=64)),
                ("accession", models.CharField(blank=True, db_index=True, max_length=64)),
                ("header_values", models.JSONField(null=True)),
                ("data_sha256", models.CharField(blank=True, max_length=64)),
                ("pixels_sha256", models.CharField(blank=True, max_length=64)),
                ("file", models.BinaryField(null=True)),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("worker", models.CharField(blank=True, max_length=64)),
                ("attempt", models.PositiveIntegerField(default=0)),
                ("failures", models.PositiveSmallIntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                (
                    "assessment",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="instances",
                        to="web.assessment",
                    ),
                ),
                ("revision", models.PositiveIntegerField(default=0)),
                ("revised_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ResultFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("decision", models.BigIntegerField(null=True)),
                ("revision", models.PositiveIntegerField(default=0)),
                ("kind", models.CharField(max_length=4)),
                ("sop_class_uid", models.CharField(blank=True, max_length=64)),
                ("sop_instance_uid", models.CharField(max_length=64, unique=True)),
                ("study_uid", models.CharField(blank=True, max_length=64)),
                ("series_uid", models.CharField(blank=True, max_length=64)),
                ("file", models.BinaryField()),
                ("sha256", models.CharField(max_length=64)),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "assessment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="web.assessment"
                    ),
                ),
                (
                    "instance",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="results", to="node.instance"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("peer", models.CharField(max_length=32)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("due", "Not yet sent"),
                            ("sending", "Being sent"),
                            ("stored", "Stored"),
                            ("committed", "Stored and confirmed"),
                            ("dead", "Not delivered"),
                            ("given_up", "Given up"),
                        ],
                        default="due",
                        max_length=9,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("begun_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("worker", models.CharField(blank=True, max_length=64)),
                ("lease_until", models.DateTimeField(null=True)),
                ("code", models.CharField(blank=True, max_length=64)),
                ("status", models.CharField(blank=True, max_length=32)),
                ("stored_at", models.DateTimeField(null=True)),
                ("sent_class_uid", models.CharField(blank=True, max_length=64)),
                ("sent_instance_uid", models.CharField(blank=True, db_index=True, max_length=64)),
                ("receipt_unknown", models.BooleanField(default=False)),
                ("commit_due_at", models.DateTimeField(null=True)),
                ("transaction_uid", models.CharField(blank=True, db_index=True, max_length=64)),
                ("commit_requested_at", models.DateTimeField(null=True)),
                ("committed_at", models.DateTimeField(null=True)),
                (
                    "result",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="node.resultfile"
                    ),
                ),
                (
                    "retraction",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="retracts",
                        to="node.resultfile",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=16)),
                ("code", models.CharField(blank=True, max_length=64)),
                ("count", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("kind", "code"), name="one_tally_of_a_kind_and_code")],
            },
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(fields=["state", "changed_at"], name="node_instan_state_108d91_idx"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["peer", "state", "due_at"], name="node_delive_peer_309a9c_idx"),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(fields=("result", "peer"), name="one_delivery_to_a_peer"),
        ),
    ]
