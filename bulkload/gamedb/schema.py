"""The schema of the items database: its creation, and what is refreshed after an import."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from bulkload import Column, Connection, SchemaError, existing_tables, load_statements, of_ddl, refused

_DDL = load_statements("gamedb/schema")
_SQL = load_statements("gamedb/create")


def columns() -> Mapping[str, Mapping[str, Column]]:
    """The columns of the tables, as sql/gamedb/schema.sql creates them."""
    return of_ddl(_DDL["tables"].text)


def create_schema(connection: Connection, schema: str = "public") -> bool:
    """Create the tables, indexes and views in a schema, all or none; False where all tables are there already.

    The schema itself is created where there is none. Raises SchemaError where some of the tables exist and some do
    not: what to do about those is for a person to say.
    """
    wanted = list(columns())
    there = existing_tables(connection, wanted, schema)
    if there == set(wanted):
        return False
    if there:
        missing = [table for table in wanted if table not in there]
        raise SchemaError(
            f"in the schema {schema} of this database the tables {', '.join(sorted(there))} exist, "
            f"but {', '.join(missing)} do not; drop the former, or name another schema"
        )
    with connection.transaction(), refused(f"creating the tables in the schema {schema}"):
        identifier = sql.Identifier(schema)
        if connection.execute(_SQL["schema_exists"].text, {"schema": schema}).fetchone() is None:
            connection.execute(_SQL["create_schema"].format(schema=identifier))
        connection.execute(_SQL["set_path"].format(schema=identifier))
        for block in ("tables", "indexes", "views"):
            connection.execute(_DDL[block].text)
    return True


def make_ready(connection: Connection, schema: str = "public") -> None:
    """Create what is missing, before an import; as `create_schema`.

    Raises SchemaError where the view could not be refreshed in the end, when the rows may be in already.
    """
    if create_schema(connection, schema):
        return
    with refused("reading the catalog"):
        row = connection.execute(_SQL["view_of_another"].text, {"schema": schema}).fetchone()
    if row is not None:
        raise SchemaError(
            f"the materialized view {schema}.symbiant_items belongs to {row[0]}, and an import refreshes it: have it "
            "given to this role (ALTER MATERIALIZED VIEW … OWNER TO), or from PostgreSQL 17 on GRANT MAINTAIN on it"
        )


def refresh_views(connection: Connection, schema: str = "public") -> None:
    """Bring the materialized view up to date, where the schema has one."""
    if existing_tables(connection, ["symbiant_items"], schema):
        with connection.transaction(), refused(f"refreshing the views of the schema {schema}"):
            connection.execute(_SQL["set_path"].format(schema=sql.Identifier(schema)))
            connection.execute(_DDL["refresh_views"].text)
