from django.db import migrations


class Migration(migrations.Migration):
    """Mail is claimed now, not notices. The column stays for now, because servers of the older version that still run
    name it in every INSERT."""

    dependencies = [
        ("apikeys", "0008_account_usage"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="notice", name="claimed_at")]
        ),
    ]
