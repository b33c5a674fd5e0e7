"""Encrypt the secrets of second factors that were stored unencrypted."""

from django.db import migrations

from accounts import encryption, factors


def encrypt(apps, schema_editor):
    stored = apps.get_model("mfa", "Authenticator").objects.using(schema_editor.connection.alias)
    factors.rewrite(stored, factors.reencrypted)


def decrypt(apps, schema_editor):
    stored = apps.get_model("mfa", "Authenticator").objects.using(schema_editor.connection.alias)
    factors.rewrite(stored, factors.read)


class Migration(migrations.Migration):
    # Each batch has its own transaction, so that sign-ins don't wait for the whole table.
    atomic = False

    dependencies = [
        ("accounts", "0006_list_indexes"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(encrypt, decrypt)]
