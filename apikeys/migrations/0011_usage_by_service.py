"""Count usage by key and service.

Processes of the version before keep running for a while. They execute `INSERT INTO apikeys_keyusage … ON CONFLICT
(api_key_id, day)`, which needs a unique index on these two columns, but now a key has several rows a day. So the table
is renamed, and an empty one with the old name gets a trigger, which counts rows that are inserted there as requests to
`/v2` and stores nothing. A later version deletes that table, and on PostgreSQL the function of its trigger.

SQLite checks triggers whenever a table is renamed, and Django replaces tables there by renaming: a migration that
alters `KeyUsage` must delete the trigger first.
"""

from django.db import migrations, models

COUNTS = (
    *("requests", "succeeded", "client_errors", "throttled", "server_errors"),
    *("in_header", "in_query", "in_body"),
)

TABLE = f"""
CREATE TABLE apikeys_keyusage (
    id bigint, api_key_id varchar(24) NOT NULL, day date NOT NULL,
    {", ".join(f"{count} bigint NOT NULL" for count in COUNTS)},
    UNIQUE (api_key_id, day)
)
"""

INSERT = f"INSERT INTO apikeys_usage (api_key_id, service, day, {', '.join(COUNTS)})"
ADD = f"""
ON CONFLICT (api_key_id, day, service)
DO UPDATE SET {", ".join(f"{count} = apikeys_usage.{count} + excluded.{count}" for count in COUNTS)}
"""
COUNT = f"{INSERT} VALUES (NEW.api_key_id, 'api', NEW.day, {', '.join(f'NEW.{count}' for count in COUNTS)}) {ADD}"

TRIGGER = {
    "postgresql": [
        "CREATE FUNCTION apikeys_count_of_older_process() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN {COUNT}; RETURN NULL; END $$",
        "CREATE TRIGGER count_of_older_process BEFORE INSERT ON apikeys_keyusage "
        "FOR EACH ROW EXECUTE FUNCTION apikeys_count_of_older_process()",
    ],
    "sqlite": [
        "CREATE TRIGGER count_of_older_process BEFORE INSERT ON apikeys_keyusage "
        f"BEGIN {COUNT}; SELECT RAISE(IGNORE); END"
    ],
}


def replace_table(apps, schema_editor):
    for statement in (TABLE, *TRIGGER[schema_editor.connection.vendor]):
        schema_editor.execute(statement)


def restore_table(apps, schema_editor):
    """Drop the empty table, and sum the services of a day, so that every key has one row a day and loses no count."""
    schema_editor.execute("DROP TABLE apikeys_keyusage")
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    if is_postgresql:
        schema_editor.execute("DROP FUNCTION apikeys_count_of_older_process()")
    sums = ", ".join(f"SUM({count})" for count in COUNTS)
    schema_editor.execute(
        f"{INSERT} SELECT api_key_id, 'api', day, {sums} FROM apikeys_usage "  # noqa: S608  only names of our own
        f"WHERE service <> 'api' GROUP BY api_key_id, day {ADD}"
    )
    schema_editor.execute("DELETE FROM apikeys_usage WHERE service <> 'api'")
    if is_postgresql:  # PostgreSQL alters no table with pending checks of foreign keys
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0010_service")]

    operations = [
        migrations.AlterModelTable(name="keyusage", table="apikeys_usage"),
        migrations.RemoveConstraint(model_name="keyusage", name="key_usage_once_a_day"),
        migrations.AddField(
            model_name="keyusage",
            name="service",
            field=models.CharField(default="api", help_text="Its id, or “api” for /v2.", max_length=24),
        ),
        migrations.AddConstraint(
            model_name="keyusage",
            constraint=models.UniqueConstraint(
                models.F("api_key"), models.F("day"), models.F("service"), name="key_usage_once_a_day_and_service"
            ),
        ),
        migrations.AddIndex(
            model_name="keyusage",
            index=models.Index(fields=["service", "-day", "-id"], name="key_usage_of_service"),
        ),
        migrations.RunPython(replace_table, restore_table),
    ]
