-- Around the DDL of sql/gamedb/schema.sql.

-- schema_exists --
-- Asked first: CREATE SCHEMA IF NOT EXISTS would need the right to create one even where it exists.
SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s

-- create_schema --
-- Where there is none of that name yet.
CREATE SCHEMA {schema}

-- set_path --
-- Until the transaction ends: the DDL names its tables without a schema.
SET LOCAL search_path TO {schema}
