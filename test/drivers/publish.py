"""Publishes as docs/sql.md shows it; arguments: driver, connection string."""
import importlib
import sys

driver = importlib.import_module(sys.argv[1])
if driver.__name__ == "psycopg":
    from psycopg.types.json import Jsonb
else:
    from psycopg2.extras import Json as Jsonb

with driver.connect(sys.argv[2]) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT evpub.publish(%s, %s, %s::jsonb, %s::jsonb)",
                   ("payroll.closed", "acme", Jsonb({"month": "2026-11"}), Jsonb({"sum": 1234.75})))
    cursor.execute("SELECT evpub.publish(%s, %s::text, %s::jsonb, %s::jsonb)",
                   ("payroll.closed", 42, Jsonb({"month": "2026-11"}), Jsonb({"sum": 1234.75})))
    cursor.execute("SELECT evpub.publish(%s, %s, data => %s::jsonb)", ("payroll.closed", "acme", None))
    cursor.execute("SELECT evpub.publish_raw(%s, %s, %s::jsonb)", ("raw", "acme", Jsonb({"theme": "dark"})))
    # text, without a cast
    cursor.execute("SELECT evpub.publish(%s, %s, %s, %s)",
                   ("payroll.closed", "acme", '{"month": "2026-11"}', '{"sum": 1234.75}'))
    connection.commit()
    try:
        cursor.execute("SELECT evpub.publish(%s, %s)", ("payroll.closed", 42))
        print("worked")
    except driver.Error as error:
        print(getattr(error, "sqlstate", None) or error.pgcode)
    connection.rollback()
