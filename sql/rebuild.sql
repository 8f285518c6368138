-- Indexes and constraints that are taken away while emptied tables are filled, and put back before the commit.
-- {definition} is the server's own text of what was there.

-- catalog --
-- All that a rebuild must leave as it was: every index and constraint of these tables, with what its definition does
-- not say. Compared as text, before and after.
SELECT format('index %%s: %%s valid=%%s clustered=%%s replident=%%s tablespace=%%s comment=%%s', c.relname,
              pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered, i.indisreplident, c.reltablespace,
              obj_description(i.indexrelid, 'pg_class')) AS fact
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY(%(relations)s::oid[])
UNION ALL
SELECT format('constraint %%s on %%s: %%s validated=%%s comment=%%s', r.conname, r.conrelid::regclass,
              pg_get_constraintdef(r.oid), r.convalidated, obj_description(r.oid, 'pg_constraint'))
FROM pg_constraint r
WHERE r.conrelid = ANY(%(relations)s::oid[]) OR r.confrelid = ANY(%(relations)s::oid[])
UNION ALL
SELECT format('column %%s.%%s notnull=%%s', a.attrelid::regclass, a.attname, a.attnotnull)
FROM pg_attribute a
WHERE a.attrelid = ANY(%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY fact

-- droppable_foreign_keys --
-- Foreign keys between these tables: each row of a child would be looked up in its parent, one by one. Those of
-- partitions follow their parents', and one that is not validated must not be when it comes back: both stay.
SELECT n.nspname::text AS schema, t.relname::text AS table_name, r.conname::text AS name,
       pg_get_constraintdef(r.oid) AS definition
FROM pg_constraint r
JOIN pg_class t ON t.oid = r.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE r.contype = 'f'
  AND r.conrelid = ANY(%(relations)s::oid[]) AND r.confrelid = ANY(%(relations)s::oid[])
  AND r.convalidated AND r.conparentid = 0 AND t.relkind = 'r'
  AND obj_description(r.oid, 'pg_constraint') IS NULL
  AND NOT EXISTS (SELECT FROM pg_constraint child WHERE child.conparentid = r.oid)
  AND pg_has_role(t.relowner, 'USAGE')
ORDER BY n.nspname, t.relname, r.conname

-- droppable_keys --
-- Primary keys and unique constraints of tables without a conflict rule, which nothing but foreign keys among the
-- tables at hand depends on, and whose definition says all there is to say of them.
SELECT n.nspname::text AS schema, t.relname::text AS table_name, r.conname::text AS name,
       pg_get_constraintdef(r.oid) AS definition
FROM pg_constraint r
JOIN pg_class t ON t.oid = r.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_index i ON i.indexrelid = r.conindid
JOIN pg_class c ON c.oid = i.indexrelid
WHERE r.contype IN ('p', 'u')
  AND r.conrelid = ANY(%(unkeyed)s::oid[])
  AND r.conparentid = 0 AND t.relkind = 'r' AND NOT t.relispartition AND t.relreplident = 'd'
  AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND c.reltablespace = 0
  AND c.reloptions IS NULL
  AND obj_description(r.oid, 'pg_constraint') IS NULL AND obj_description(c.oid, 'pg_class') IS NULL
  AND NOT EXISTS (SELECT FROM pg_publication_rel p WHERE p.prrelid = t.oid)
  AND NOT EXISTS (SELECT FROM pg_publication p WHERE p.puballtables)
  AND NOT EXISTS (
      SELECT FROM pg_depend d
      WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = r.oid AND d.deptype = 'n')
  AND NOT EXISTS (
      SELECT FROM pg_constraint f JOIN pg_class child ON child.oid = f.conrelid
      WHERE f.contype = 'f' AND f.conindid = r.conindid
        AND NOT (f.conrelid = ANY(%(relations)s::oid[]) AND f.confrelid = ANY(%(relations)s::oid[])
                 AND f.convalidated AND f.conparentid = 0 AND child.relkind = 'r'
                 AND obj_description(f.oid, 'pg_constraint') IS NULL AND pg_has_role(child.relowner, 'USAGE')))
  AND pg_has_role(t.relowner, 'USAGE')
ORDER BY n.nspname, t.relname, r.conname

-- droppable_indexes --
-- Indexes that belong to no constraint, and whose definition says all there is to say of them.
SELECT n.nspname::text AS schema, t.relname::text AS table_name, c.relname::text AS name,
       pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = ANY(%(relations)s::oid[])
  AND t.relkind = 'r' AND NOT t.relispartition
  AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND c.reltablespace = 0
  AND obj_description(c.oid, 'pg_class') IS NULL
  AND NOT EXISTS (SELECT FROM pg_constraint r WHERE r.conindid = i.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indexrelid AND d.deptype <> 'i')
  AND NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = i.indexrelid AND coalesce(a.attstattarget, -1) <> -1)
  AND pg_has_role(t.relowner, 'USAGE')
ORDER BY n.nspname, t.relname, c.relname

-- drop_constraint --
-- Comes back by add_constraint.
ALTER TABLE {table} DROP CONSTRAINT {name}

-- drop_index --
-- Comes back by its own definition.
DROP INDEX {name}

-- add_constraint --
-- What drop_constraint took away.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition}

-- check_deferred --
-- Foreign keys that stayed and are checked at the commit: no index can be built while such a check is due.
SET CONSTRAINTS ALL IMMEDIATE

-- build_memory --
-- Until the transaction ends: sorts of an index build stay in memory where they fit.
SELECT set_config('maintenance_work_mem', %(size)s, true)
WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(%(size)s)
