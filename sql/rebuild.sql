-- Indexes and constraints: what there is, the statements that take it away, and those that put it back exactly.
-- {definition} and the like are the server's own text of what was there, made with search_path set to pg_catalog
-- alone, as pg_dump does: every other name in it is qualified.

-- read_settings --
-- To be put back after what follows.
SELECT current_setting('search_path'), current_setting('default_tablespace')

-- local_settings --
-- Until the transaction ends, or they are set again. Names are qualified where search_path does not find them; an index
-- is created in default_tablespace, where '' is the database's own.
SELECT set_config('search_path', %(path)s, true), set_config('default_tablespace', %(tablespace)s, true)

-- session_settings --
-- The same for statements that cannot be in a transaction.
SELECT set_config('search_path', %(path)s, false), set_config('default_tablespace', %(tablespace)s, false)

-- family --
-- These tables and their partitions, however deep.
SELECT DISTINCT coalesce(p.relid, t.oid)::bigint AS relation
FROM unnest(%(relations)s::oid[]) AS t(oid)
LEFT JOIN LATERAL pg_partition_tree(t.oid) AS p ON true

-- tables_named --
-- The tables of a schema, of which the partitioned ones stand for their partitions; or the one of a name.
SELECT c.oid::bigint AS relation
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND (NOT c.relispartition OR %(table)s::text IS NOT NULL)
  AND (%(table)s::text IS NULL OR c.relname = %(table)s)
ORDER BY c.oid

-- indexes --
-- Every index of these tables, alone or that of a key or an exclusion constraint, with all that its definition does
-- not say. What depends on it (dependents) is told but for foreign keys, which are given by their oids, those of
-- partitions by the one that was declared. One that is gone by the time that its definition is asked for has none, and
-- is left out.
SELECT CASE WHEN r.contype IN ('p', 'u') AND a.amname = 'btree' THEN 'key'
            WHEN r.oid IS NOT NULL THEN 'constraint'
            ELSE 'index' END AS kind,
       i.indexrelid::bigint AS oid,
       t.oid::bigint AS relation,
       n.nspname::text AS schema,
       t.relname::text AS table_name,
       c.relname::text AS name,
       pg_get_indexdef(i.indexrelid) AS definition,
       coalesce(r.conname::text, '') AS constraint_name,
       coalesce(pg_get_constraintdef(r.oid), '') AS constraint_definition,
       coalesce(r.contype = 'p', false) AS is_primary,
       coalesce(r.condeferrable, false) AS deferrable,
       coalesce(r.condeferred, false) AS deferred,
       a.amname::text AS method,
       i.indisunique AS is_unique,
       i.indisvalid AS valid,
       i.indisclustered AS clustered,
       i.indisreplident AS replica_identity,
       c.relkind = 'I' AS partitioned,
       coalesce(s.spcname::text, '') AS tablespace,
       s.oid IS NULL OR has_tablespace_privilege(s.oid, 'CREATE') AS tablespace_open,
       has_schema_privilege(n.oid, 'CREATE') AS schema_open,
       c.reloptions AS storage,
       obj_description(c.oid, 'pg_class') AS comment,
       obj_description(r.oid, 'pg_constraint') AS constraint_comment,
       ARRAY(SELECT format('%%s %%s', x.attnum, x.attstattarget) FROM pg_attribute x
             WHERE x.attrelid = c.oid AND coalesce(x.attstattarget, -1) >= 0 ORDER BY x.attnum) AS statistics,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false)
             FROM generate_series(1, i.indnkeyatts) AS k) AS keys,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       coalesce(pn.nspname::text, '') AS parent_schema,
       coalesce(parent.relname::text, '') AS parent_name,
       pg_has_role(t.relowner, 'USAGE') AS owned,
       t.relreplident = 'd' AND coalesce(r.contype = 'p', false) AS default_identity,
       EXISTS (SELECT FROM pg_publication_tables p
               WHERE (p.schemaname, p.tablename) = (n.nspname, t.relname)
                  OR (p.schemaname || '.' || p.tablename) = ANY (
                        SELECT an.nspname || '.' || ac.relname
                        FROM pg_partition_ancestors(t.oid) AS up(relid)
                        JOIN pg_class ac ON ac.oid = up.relid JOIN pg_namespace an ON an.oid = ac.relnamespace)
              ) AS published,
       EXISTS (SELECT FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'x')) AS of_extension,
       ARRAY(SELECT DISTINCT pg_describe_object(v.classid, v.objid, v.objsubid)
             FROM (SELECT coalesce(w.ev_class::oid, d.objid) AS objid,
                          CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS classid,
                          CASE WHEN w.oid IS NULL THEN d.objsubid ELSE 0 END AS objsubid
                   FROM pg_depend d
                   LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                   LEFT JOIN pg_constraint f ON d.classid = 'pg_constraint'::regclass AND f.oid = d.objid
                   WHERE d.deptype = 'n' AND (f.oid IS NULL OR f.contype <> 'f')
                     AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                          OR (d.refclassid = 'pg_constraint'::regclass AND d.refobjid = r.oid))) AS v) AS dependents,
       ARRAY(WITH RECURSIVE declared AS (
                 SELECT f.oid, f.conparentid FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = c.oid
                 UNION
                 SELECT p.oid, p.conparentid FROM declared d JOIN pg_constraint p ON p.oid = d.conparentid)
             SELECT d.oid::bigint FROM declared d WHERE d.conparentid = 0) AS foreign_keys
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_am a ON a.oid = c.relam
LEFT JOIN pg_constraint r ON r.conindid = c.oid AND r.contype IN ('p', 'u', 'x') AND r.conrelid = t.oid
LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
LEFT JOIN pg_inherits h ON h.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = h.inhparent
LEFT JOIN pg_namespace pn ON pn.oid = parent.relnamespace
WHERE i.indrelid = ANY(%(relations)s::oid[]) AND pg_get_indexdef(i.indexrelid) IS NOT NULL
ORDER BY n.nspname, t.relname, c.relname

-- foreign_keys --
-- Every foreign key from or to these tables; of partitioned tables the one that was declared, which stands for those
-- of the partitions. A trigger of it that was switched off would come back switched on. Where several unique indexes
-- have the columns that it refers to, it would come back on the oldest of them, whichever it was on.
SELECT r.oid::bigint AS oid,
       t.oid::bigint AS relation,
       p.oid::bigint AS referenced,
       n.nspname::text AS schema,
       t.relname::text AS table_name,
       r.conname::text AS name,
       pg_get_constraintdef(r.oid) AS definition,
       r.convalidated AS valid,
       obj_description(r.oid, 'pg_constraint') AS comment,
       t.relkind = 'p' OR p.relkind = 'p' AS partitioned,
       pn.nspname::text AS referenced_schema,
       p.relname::text AS referenced_table,
       ARRAY(SELECT quote_ident(a.attname) FROM unnest(r.conkey) WITH ORDINALITY AS k(attnum, place)
             JOIN pg_attribute a ON a.attrelid = r.conrelid AND a.attnum = k.attnum ORDER BY k.place) AS keys,
       ARRAY(SELECT quote_ident(a.attname) FROM unnest(r.confkey) WITH ORDINALITY AS k(attnum, place)
             JOIN pg_attribute a ON a.attrelid = r.confrelid AND a.attnum = k.attnum ORDER BY k.place)
           AS referenced_keys,
       pg_has_role(t.relowner, 'USAGE') AND pg_has_role(p.relowner, 'USAGE') AS owned,
       EXISTS (SELECT FROM pg_depend d
               WHERE d.classid = 'pg_constraint'::regclass AND d.objid = r.oid AND d.deptype IN ('e', 'x'))
           AS of_extension,
       EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = r.oid AND g.tgenabled <> 'O') AS switched_off,
       EXISTS (SELECT FROM pg_constraint child
               WHERE child.conparentid = r.oid AND child.confrelid = r.confrelid
                 AND (child.conname <> r.conname OR obj_description(child.oid, 'pg_constraint') IS NOT NULL))
           AS partitions_differ,
       (SELECT count(*) FROM pg_index i
        WHERE i.indrelid = r.confrelid AND i.indisunique AND i.indimmediate AND i.indisvalid
          AND i.indpred IS NULL AND i.indexprs IS NULL
          AND ARRAY(SELECT k FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(k, place)
                    WHERE place <= i.indnkeyatts ORDER BY k)
            = ARRAY(SELECT k FROM unnest(r.confkey) AS k ORDER BY k)) > 1 AS several_keys
FROM pg_constraint r
JOIN pg_class t ON t.oid = r.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_class p ON p.oid = r.confrelid
JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE r.contype = 'f' AND r.conparentid = 0
  AND (r.conrelid = ANY(%(relations)s::oid[]) OR r.confrelid = ANY(%(relations)s::oid[]))
ORDER BY n.nspname, t.relname, r.conname

-- catalog --
-- All that a rebuild must leave as it was, an object a row: compared before and after.
SELECT format('index %%s.%%s', n.nspname, c.relname) AS object,
       concat_ws('; ', pg_get_indexdef(i.indexrelid), 'valid ' || i.indisvalid, 'clustered ' || i.indisclustered,
                 'replica identity ' || i.indisreplident, 'tablespace ' || c.reltablespace,
                 'part of ' || (SELECT h.inhparent::regclass FROM pg_inherits h WHERE h.inhrelid = c.oid),
                 'comment ' || obj_description(c.oid, 'pg_class'),
                 'statistics ' || (SELECT string_agg(a.attnum || ' ' || a.attstattarget, ', ' ORDER BY a.attnum)
                                   FROM pg_attribute a
                                   WHERE a.attrelid = c.oid AND coalesce(a.attstattarget, -1) >= 0)) AS facts
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = ANY(%(relations)s::oid[])
UNION ALL
SELECT format('constraint %%s on %%s', r.conname, r.conrelid::regclass),
       concat_ws('; ', pg_get_constraintdef(r.oid), 'validated ' || r.convalidated,
                 'index ' || nullif(r.conindid, 0)::regclass,
                 'comment ' || obj_description(r.oid, 'pg_constraint'))
FROM pg_constraint r
WHERE r.conrelid = ANY(%(relations)s::oid[]) OR r.confrelid = ANY(%(relations)s::oid[])
UNION ALL
SELECT format('column %%s.%%s', a.attrelid::regclass, a.attname), 'not null ' || a.attnotnull
FROM pg_attribute a
WHERE a.attrelid = ANY(%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('table %%s', c.oid::regclass),
       concat_ws('; ', 'persistence ' || c.relpersistence::text, 'replica identity ' || c.relreplident::text)
FROM pg_class c
WHERE c.oid = ANY(%(relations)s::oid[])
ORDER BY object

-- drop_constraint --
-- A foreign key, a key or an exclusion constraint.
ALTER TABLE {table} DROP CONSTRAINT {name}

-- drop_index --
-- With those of its partitions, where it has some.
DROP INDEX {index}

-- add_constraint --
-- A foreign key or an exclusion constraint; a key of a partitioned table, its partitions left to their own.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition}

-- add_constraint_only --
-- The partitions' own keys are attached to it later.
ALTER TABLE ONLY {table} ADD CONSTRAINT {name} {definition}

-- add_foreign_key_unchecked --
-- Rows that come are checked from now on; those that are there by validate_foreign_key, which locks nobody out.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID

-- validate_foreign_key --
-- All rows, in one join.
ALTER TABLE {table} VALIDATE CONSTRAINT {name}

-- promote_key --
-- An index that was built like any other becomes the key's.
ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {index} {deferral}

-- attach_index --
-- An index of a partition, to that of the partitioned table.
ALTER INDEX {parent} ATTACH PARTITION {index}

-- comment_index --
-- A comment is no parameter.
COMMENT ON INDEX {index} IS {comment}

-- comment_constraint --
-- The same for a constraint.
COMMENT ON CONSTRAINT {name} ON {table} IS {comment}

-- cluster_on --
-- Only the mark that CLUSTER looks for.
ALTER TABLE {table} CLUSTER ON {index}

-- replica_identity --
-- What logical replication knows a row by.
ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}

-- set_statistics --
-- Of an expression that is indexed.
ALTER INDEX {index} ALTER COLUMN {column} SET STATISTICS {target}

-- can_be_unlogged --
-- Those of these tables that can be out of the log for a while: not what a logged table refers to, and nothing that
-- would come back other than it was.
SELECT c.oid::bigint AS relation
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%(relations)s::oid[]) AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_publication_tables p WHERE (p.schemaname, p.tablename) = (n.nspname, c.relname))
  AND NOT EXISTS (SELECT FROM pg_constraint r
                  WHERE r.contype = 'f' AND r.confrelid = c.oid AND r.conrelid <> c.oid)

-- set_unlogged --
-- Rows that come are not written to the log: a crash of the server empties the table.
ALTER TABLE {table} SET UNLOGGED

-- set_logged --
-- Writes the table to the log, whole.
ALTER TABLE {table} SET LOGGED

-- check_deferred --
-- Foreign keys that stayed and are checked at the commit: no index can be built while such a check is due.
SET CONSTRAINTS ALL IMMEDIATE

-- build_memory --
-- Until the transaction ends: sorts of an index build stay in memory where they fit.
SELECT set_config('maintenance_work_mem', %(size)s, true)
WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(%(size)s)

-- duplicate_keys --
-- The keys that more than one row has, so that somebody can mend them.
SELECT concat_ws(', ', {keys}), count(*) FROM {table} WHERE {condition} GROUP BY {keys} HAVING count(*) > 1
ORDER BY 2 DESC LIMIT 10

-- orphans --
-- The references that lead nowhere.
SELECT concat_ws(', ', {keys}), count(*) FROM {table} AS child
WHERE {condition} AND NOT EXISTS (SELECT FROM {referenced} AS parent WHERE {match})
GROUP BY {keys} ORDER BY 2 DESC LIMIT 10

-- session_build_memory --
-- The same for a session that does nothing else, one of several at the same time: they share what there is of parallel
-- workers, and memory beyond four times that of one.
SELECT set_config('maintenance_work_mem',
                  greatest(pg_size_bytes(%(size)s) * 4 / greatest(4, %(jobs)s::int) / 1024,
                           pg_size_bytes(current_setting('maintenance_work_mem')) / 1024)::text || 'kB', false),
       set_config('max_parallel_maintenance_workers',
                  (current_setting('max_parallel_maintenance_workers')::int / %(jobs)s::int)::text, false)

-- build_progress --
-- How far each of these index builds is, as a part of one.
SELECT coalesce(greatest(blocks_done::float8 / nullif(blocks_total, 0),
                         tuples_done::float8 / nullif(tuples_total, 0)), 0)
FROM pg_stat_progress_create_index WHERE pid = ANY(%(pids)s::int[])

-- table_sizes --
-- Bytes of the rows alone.
SELECT t.oid::bigint, pg_relation_size(t.oid) FROM unnest(%(relations)s::oid[]) AS t(oid)
