from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sites', '0002_commands'),
    ]

    operations = [
        migrations.AddField(
            model_name='mqttconnection',
            name='restarts',
            field=models.PositiveBigIntegerField(db_default=0, editable=False, help_text='Another number is another link: the owner connects anew.'),
        ),
    ]
