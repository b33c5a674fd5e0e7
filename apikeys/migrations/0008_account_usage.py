"""Fill the daily sums of accounts from the usage of their keys."""

from django.db import migrations, models

COUNTS = (
    *("requests", "succeeded", "client_errors", "throttled", "server_errors"),
    *("in_header", "in_query", "in_body"),
)


def add_up(apps, schema_editor):
    AccountUsage = apps.get_model("apikeys", "AccountUsage")
    rows = (
        apps.get_model("apikeys", "KeyUsage")
        .objects.order_by()
        .values("day", of=models.F("api_key__account"))
        .annotate(**{f"sum_{count}": models.Sum(count) for count in COUNTS})
    )
    AccountUsage.objects.bulk_create(
        (
            AccountUsage(account_id=row["of"], day=row["day"], **{count: row[f"sum_{count}"] for count in COUNTS})
            for row in rows.iterator()
        ),
        batch_size=1000,
    )


def delete_all(apps, schema_editor):
    """Migrating forwards again sums the usage anew."""
    apps.get_model("apikeys", "AccountUsage").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0007_list_indexes")]

    operations = [migrations.RunPython(add_up, delete_all)]
