"""Migrations work while servers of the previous release still write rows."""

from django.apps import apps
from django.db.migrations import AddField
from django.db.migrations.loader import MigrationLoader
from django.db.models import NOT_PROVIDED

#: They are older than this rule.
OLDER = {
    ("accounts", "0002_key_policy"),
    ("accounts", "0003_people"),
    ("accounts", "0005_time_zone"),
    ("apikeys", "0002_life_of_a_key"),
    ("apikeys", "0007_list_indexes"),
    ("apikeys", "0011_usage_by_service"),
}


def test_a_new_column_can_be_left_out_by_servers_that_do_not_know_it() -> None:
    ours = {app.label for app in apps.get_app_configs() if app.name.startswith(("accounts", "apikeys", "atatus_dash"))}
    migrations = MigrationLoader(None).disk_migrations
    required = {
        key: f"{operation.model_name}.{operation.name} needs db_default or null=True"
        for key, migration in migrations.items()
        for operation in migration.operations
        if key[0] in ours and isinstance(operation, AddField)
        if not operation.field.null and operation.field.db_default is NOT_PROVIDED
    }
    assert {key: problem for key, problem in required.items() if key not in OLDER} == {}
    assert set(required) >= OLDER


def test_a_default_of_the_database_is_also_the_default_in_python() -> None:
    """Otherwise a new row has no value until it is read again, and the description of the API has no default."""
    fields = [field for model in apps.get_models() for field in model._meta.fields if field.editable]
    with_db_default = [field for field in fields if field.db_default is not NOT_PROVIDED]
    assert with_db_default
    assert [
        f"{field} needs default={field.db_default!r} too" for field in with_db_default if not field.has_default()
    ] == []
