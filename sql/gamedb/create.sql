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

-- view_of_another --
-- The owner of the materialized view, where this role may not refresh it. MAINTAIN is a right from PostgreSQL 17 on.
SELECT c.relowner::regrole::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = 'symbiant_items' AND c.relkind = 'm'
  AND NOT pg_has_role(c.relowner, 'USAGE')
  AND NOT CASE WHEN current_setting('server_version_num')::int >= 170000
               THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END
