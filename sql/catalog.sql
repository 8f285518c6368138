-- Questions to the system catalogs. All of them are read-only and need no right but to connect.

-- columns --
-- The columns of the tables named, each with what an encoder must know of its type. A domain is followed down to
-- its base type, for which the binary format is the same; the domain's own constraint is still checked by the server.
-- The sequence is the one that the default draws from (a serial column, too, may have been given another than its own),
-- else the one that the column owns (identity).
WITH RECURSIVE wanted AS (
    SELECT c.oid, c.relname, c.relkind, a.attnum, a.attname, a.attnotnull, a.attidentity, a.attgenerated, a.atthasdef,
           a.atttypid, a.atttypmod
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p')
), based AS (
    SELECT w.oid, w.attnum, w.atttypid AS type, w.atttypmod AS typmod FROM wanted w
    UNION ALL
    SELECT b.oid, b.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.typmod END
    FROM based b JOIN pg_type t ON t.oid = b.type
    WHERE t.typtype = 'd'
)
SELECT w.oid::bigint AS relation,
       w.relname AS table_name,
       w.relkind = 'p' AS partitioned,
       w.attname AS name,
       w.attnotnull OR EXISTS (
           SELECT FROM pg_type d WHERE d.oid = w.atttypid AND d.typtype = 'd' AND d.typnotnull) AS not_null,
       w.atthasdef OR w.attidentity <> '' AS has_default,
       w.attgenerated <> '' AS generated,
       format_type(w.atttypid, w.atttypmod) AS type_name,
       t.typname AS base,
       t.oid::bigint AS type_oid,
       b.typmod AS typmod,
       e.typname AS element_base,
       e.oid::bigint AS element_oid,
       format_type(e.oid, b.typmod) AS element_name,
       t.typtype = 'e' OR coalesce(e.typtype = 'e', false) AS is_enum,
       ARRAY(SELECT l.enumlabel::text FROM pg_enum l
             WHERE l.enumtypid = coalesce(e.oid, t.oid) ORDER BY l.enumsortorder) AS labels,
       coalesce(
           (SELECT s.oid::regclass::text
            FROM pg_attrdef f
            JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = f.oid
            JOIN pg_class s ON p.refclassid = 'pg_class'::regclass AND s.oid = p.refobjid AND s.relkind = 'S'
            WHERE f.adrelid = w.oid AND f.adnum = w.attnum
            LIMIT 1),
           pg_get_serial_sequence(format('%%I.%%I', %(schema)s::text, w.relname), w.attname)) AS sequence
FROM wanted w
JOIN based b ON b.oid = w.oid AND b.attnum = w.attnum
JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
ORDER BY w.relname, w.attnum

-- unique_keys --
-- The column lists that a unique index of these tables can arbitrate ON CONFLICT for: valid, checked at once, over
-- plain columns and all rows.
SELECT i.indrelid::bigint AS relation,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k(attnum)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) AS columns
FROM pg_index i
WHERE i.indrelid = ANY(%(relations)s::oid[])
  AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL

-- existing_tables --
-- Which of the tables named are there.
SELECT c.relname::text AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')

-- referring_tables --
-- These tables and all that refer to them through foreign keys, however far, but for partitions that were not named
-- (their parent stands for them): what TRUNCATE must list to be allowed at all.
WITH RECURSIVE closure AS (
    SELECT unnest(%(relations)s::oid[]) AS oid
    UNION
    SELECT r.conrelid FROM pg_constraint r JOIN closure c ON r.confrelid = c.oid WHERE r.contype = 'f'
)
SELECT n.nspname::text AS schema, t.relname::text AS name, t.oid::bigint AS relation
FROM closure c
JOIN pg_class t ON t.oid = c.oid AND (NOT t.relispartition OR t.oid = ANY(%(relations)s::oid[]))
JOIN pg_namespace n ON n.oid = t.relnamespace
ORDER BY n.nspname, t.relname

-- referring_keys --
-- The foreign keys by which some tables refer to others.
SELECT format('%%s.%%s, whose %%s refers to %%s.%%s', n.nspname, t.relname, r.conname, m.nspname, p.relname)
FROM pg_constraint r
JOIN pg_class t ON t.oid = r.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_class p ON p.oid = r.confrelid
JOIN pg_namespace m ON m.oid = p.relnamespace
WHERE r.contype = 'f' AND r.conparentid = 0 AND r.conrelid <> r.confrelid
  AND r.conrelid = ANY(%(relations)s::oid[]) AND r.confrelid = ANY(%(referenced)s::oid[])
ORDER BY 1

-- estimate_rows --
-- Rows that the planner believes tables have; -1 where one was never analyzed, unless it is seen to be empty. To look at
-- one that is locked would be to wait for it.
SELECT oid::bigint,
       CASE WHEN reltuples >= 0 OR relkind <> 'r'
                OR EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
                           AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                           AND l.pid <> pg_backend_pid())
            THEN reltuples::bigint
            WHEN pg_relation_size(oid) = 0 THEN 0
            ELSE -1 END
FROM pg_class c WHERE oid = ANY(%(relations)s::oid[])

-- parse_name --
-- A name as it is written in SQL, in its parts.
SELECT parse_ident(%(name)s)

-- findings --
-- What about these tables may slow a load down, or change what it writes.
SELECT format('%%s has the trigger %%s, which runs for every row', g.tgrelid::regclass, g.tgname)
FROM pg_trigger g
WHERE g.tgrelid = ANY(%(relations)s::oid[]) AND NOT g.tgisinternal AND g.tgenabled <> 'D'
UNION ALL
SELECT format('%%s has row-level security, with which COPY is refused', c.oid::regclass)
FROM pg_class c
WHERE c.oid = ANY(%(relations)s::oid[]) AND row_security_active(c.oid)
UNION ALL
SELECT format('%%s has given %%s percent of its values', s.oid::regclass,
              round(100.0 * coalesce(pg_sequence_last_value(s.oid), 0) / q.seqmax))
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' AND d.classid = 'pg_class'::regclass
JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY(%(relations)s::oid[])
  AND q.seqincrement > 0 AND coalesce(pg_sequence_last_value(s.oid), 0) > 0.8 * q.seqmax
ORDER BY 1

-- missing_rights --
-- What this role may not do of what a load does, as the statements that grant it. A right to some of the columns counts,
-- and the server says where another column is needed.
WITH wanted AS (
    SELECT relation, privilege FROM unnest(%(relations)s::oid[], %(privileges)s::text[]) AS t(relation, privilege)
    UNION ALL
    SELECT name::regclass, 'USAGE' FROM unnest(%(sequences)s::text[]) AS s(name)
)
SELECT format('GRANT %%s ON %%s%%s TO %%I', w.privilege, CASE WHEN c.relkind = 'S' THEN 'SEQUENCE ' ELSE '' END,
              string_agg(DISTINCT format('%%I.%%I', n.nspname, c.relname), ', '), current_user)
FROM wanted w JOIN pg_class c ON c.oid = w.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT CASE
    WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, UPDATE')
    WHEN w.privilege IN ('SELECT', 'INSERT', 'UPDATE') THEN has_any_column_privilege(c.oid, w.privilege)
    ELSE has_table_privilege(c.oid, w.privilege) END
GROUP BY w.privilege, c.relkind = 'S'
ORDER BY c.relkind = 'S', w.privilege
