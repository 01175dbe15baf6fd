"""How far each worker's spool is in this database."""

import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('telemetry', '0004_rollups'),
    ]

    operations = [
        migrations.CreateModel(
            name='SpoolMark',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('node', models.TextField()),
                ('live', models.BigIntegerField(db_default=0, default=0)),
                ('drained', models.BigIntegerField(db_default=0, default=0)),
                ('waiting', models.BigIntegerField(db_default=0, default=0)),
                ('seen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'spool',
                'verbose_name_plural': 'spools',
            },
        ),
    ]
