"""Remembers deliveries in a table of their own; notes gaps.

What connections delivered last is taken along, so that the upgrade itself doubles
nothing. A worker of the old version that still runs cannot write any more; what it has
not stored it does not acknowledge, and the new one gets it again.
"""

import struct
import time

import django.db.models.deletion
from django.db import migrations, models

OLD, NEW = struct.Struct(">H8s"), struct.Struct(">QH6s")
SEALED_BYTES = 1_024


def convert(entries, newest_us):
    """Give entries of 10 bytes (packet id, hash) the times that entries have now."""
    old = list(OLD.iter_unpack(entries[: len(entries) // OLD.size * OLD.size]))
    first_us = newest_us - len(old)
    return b"".join(
        NEW.pack((first_us + place) << 1, mid, content[:6])
        for place, (mid, content) in enumerate(old)
    )


def take_along(apps, schema_editor):
    stats = apps.get_model("sites", "ConnectionStats")
    delivered = apps.get_model("sites", "Delivered")
    for row in stats.objects.exclude(delivered=b"").iterator(chunk_size=100):
        moment = row.last_message_at
        newest_us = int((moment.timestamp() if moment else time.time()) * 1e6)
        entries = convert(bytes(row.delivered), newest_us)
        if len(entries) < SEALED_BYTES:
            stats.objects.filter(pk=row.pk).update(recent=entries)
        else:
            delivered.objects.create(
                connection_id=row.pk, newest_us=newest_us, entries=entries
            )


# Hashes do not compress; a table that is always appended to and cut off at its old end
# is vacuumed early, also where it is small.
STORE = """
ALTER TABLE sites_delivered ALTER COLUMN entries SET STORAGE EXTERNAL;
ALTER TABLE sites_connectionstats ALTER COLUMN recent SET STORAGE EXTERNAL;
ALTER TABLE sites_delivered SET (
    autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 500,
    toast.autovacuum_vacuum_scale_factor = 0.1,
    toast.autovacuum_vacuum_threshold = 2000
);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('sites', '0003_restarts'),
    ]

    operations = [
        migrations.AddField(
            model_name='connectionstats',
            name='recent',
            field=models.BinaryField(db_default=b'', default=bytes),
        ),
        migrations.AddField(
            model_name='mqttconnection',
            name='away_since',
            field=models.DateTimeField(editable=False, help_text='When it was last surely heard, while that is over.', null=True),
        ),
        migrations.AddField(
            model_name='mqttconnection',
            name='recent_per_minute',
            field=models.PositiveIntegerField(db_default=0, editable=False, help_text='Messages, while it last ran.'),
        ),
        migrations.CreateModel(
            name='Delivered',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('newest_us', models.BigIntegerField(help_text='Received, µs since 1970.')),
                ('entries', models.BinaryField()),
                ('is_redelivery', models.BooleanField(db_default=False, help_text='Of what came with DUP and was stored; remembered for longer.')),
                ('connection', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='delivered', to='sites.mqttconnection')),
            ],
            options={
                'verbose_name': 'remembered deliveries',
                'verbose_name_plural': 'remembered deliveries',
            },
        ),
        migrations.CreateModel(
            name='SuspectedGap',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('began_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField()),
                ('cause', models.CharField(choices=[('session_lost', 'the broker no longer had our session'), ('clean_session', 'live only: nothing was kept for us'), ('queue_overflow', 'more may have come than the broker keeps'), ('qos_0', 'QoS 0: nothing was kept for us')], max_length=32)),
                ('detail', models.CharField(blank=True, max_length=300)),
                ('connection', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gaps', to='sites.mqttconnection')),
            ],
            options={
                'verbose_name': 'suspected gap',
                'verbose_name_plural': 'suspected gaps',
                'ordering': ['-ended_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('connection', 'ended_at'), name='one_gap_per_return')],
            },
        ),
        migrations.RunSQL(STORE, migrations.RunSQL.noop),
        migrations.RunPython(take_along, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name='connectionstats',
            name='delivered',
        ),
    ]
