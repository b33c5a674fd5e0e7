from django.db import migrations


class Migration(migrations.Migration):
    """A notice is no longer claimed: mail is. The column stays for now, because a server of the older version that
    still runs names it in every INSERT."""

    dependencies = [
        ("apikeys", "0008_account_usage"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="notice", name="claimed_at")]
        ),
    ]
