-- The ledger: which loads there were, and what was taken away and is not back yet. It lies in the database that it is
-- about, so that any machine can put things right.

-- ledger_exists --
-- Whether the ledger is there.
SELECT to_regclass('bulkload.dropped') IS NOT NULL

-- one_at_a_time --
-- CREATE … IF NOT EXISTS is no protection from somebody who creates the same at the same time.
SELECT pg_advisory_xact_lock(%(class)s, 0)

-- create_ledger --
-- A load is alive as long as somebody holds the advisory lock of its id. A dropped object is struck in the transaction
-- that brings it back. Everybody may read it, as everybody may read the catalog: a load with the least rights has to
-- see whether another one holds its tables.
CREATE SCHEMA IF NOT EXISTS bulkload;
COMMENT ON SCHEMA bulkload IS 'The ledger of python -m bulkload: loads, and indexes and constraints to be restored';
CREATE TABLE IF NOT EXISTS bulkload.loads (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('load', 'drop')),
    mode text NOT NULL,
    tables text[] NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    client text NOT NULL,
    version text NOT NULL,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended timestamptz,
    progress jsonb NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS bulkload.dropped (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    load integer NOT NULL REFERENCES bulkload.loads,
    relation oid NOT NULL,
    kind text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    name text NOT NULL,
    definition jsonb NOT NULL,
    dropped timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT USAGE ON SCHEMA bulkload TO PUBLIC;
GRANT SELECT ON bulkload.loads, bulkload.dropped TO PUBLIC

-- begin_load --
-- A new line.
INSERT INTO bulkload.loads (kind, mode, tables, client, version)
VALUES (%(kind)s, %(mode)s, %(tables)s, %(client)s, %(version)s)
RETURNING id

-- end_load --
-- How it ended; a line that says so already stays.
UPDATE bulkload.loads SET state = %(state)s, ended = clock_timestamp(), progress = progress || %(progress)s::jsonb
WHERE id = %(load)s AND state = 'running'

-- hold --
-- The sign of life, as long as the session lasts.
SELECT pg_try_advisory_lock(%(class)s, %(load)s)

-- hold_in_transaction --
-- The sign of life, as long as the transaction lasts.
SELECT pg_try_advisory_xact_lock(%(class)s, %(load)s)

-- let_go --
-- The session goes on to other things.
SELECT pg_advisory_unlock(%(class)s, %(load)s)

-- hold_together --
-- The sign of life of a load on several connections: it is alive as long as one of them is.
SELECT pg_try_advisory_lock_shared(%(class)s, %(load)s)

-- let_go_together --
-- One of them goes on to other things.
SELECT pg_advisory_unlock_shared(%(class)s, %(load)s)

-- record_dropped --
-- What is about to be taken away, in the same transaction.
INSERT INTO bulkload.dropped (load, relation, kind, schema_name, table_name, name, definition)
VALUES (%(load)s, %(relation)s, %(kind)s, %(schema)s, %(table)s, %(name)s, %(definition)s::jsonb)

-- strike --
-- It is back.
DELETE FROM bulkload.dropped WHERE id = %(id)s

-- outstanding --
-- What is away, in the order in which it was taken away; of some tables where they are given. A table is the one of
-- that name, since its oid is another one in a database that was dumped and restored; or else the one of that oid, which
-- was renamed.
SELECT d.id::bigint AS id, d.load AS load, l.kind AS load_kind, l.client AS client, to_jsonb(l.started) AS started,
       EXISTS (SELECT FROM pg_locks k
               WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = d.load::oid
                 AND k.objsubid = 2 AND k.granted
                 AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS alive,
       t.oid::bigint AS relation, t.name AS table_now,
       d.kind AS kind, d.schema_name AS schema, d.table_name AS table_name, d.name AS name,
       d.definition::text AS definition
FROM bulkload.dropped d JOIN bulkload.loads l ON l.id = d.load
LEFT JOIN LATERAL (
    SELECT c.oid, n.nspname || '.' || c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
      AND (c.oid = d.relation OR (n.nspname, c.relname) = (d.schema_name, d.table_name))
    ORDER BY (n.nspname, c.relname) = (d.schema_name, d.table_name) DESC
    LIMIT 1) AS t ON true
WHERE %(relations)s::oid[] IS NULL OR t.oid = ANY(%(relations)s::oid[])
ORDER BY d.id

-- at_work --
-- The loads that run on some of these tables and are no transaction, whatever they took away. The locks of the others
-- keep out whom they must; batches of INSERT keep out nobody. As JSON, times do not depend on the session's DateStyle.
SELECT l.id AS load, l.client AS client, to_jsonb(l.started) AS started, n.nspname || '.' || c.relname AS table_name
FROM bulkload.loads l
JOIN pg_class c ON c.oid = ANY(%(relations)s::oid[])
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.kind = 'load' AND l.mode = 'ultra' AND l.state = 'running' AND n.nspname || '.' || c.relname = ANY(l.tables)
  AND EXISTS (SELECT FROM pg_locks k
              WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
                AND k.objsubid = 2 AND k.granted
                AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY l.id, table_name

-- loads --
-- The loads, the newest first.
SELECT l.id AS id, l.kind AS kind, l.mode AS mode, l.tables AS tables, l.client AS client, l.version AS version,
       to_jsonb(l.started) AS started, to_jsonb(l.ended) AS ended, l.progress AS progress,
       (SELECT count(*) FROM bulkload.dropped d WHERE d.load = l.id) AS dropped,
       CASE WHEN l.state = 'running' AND l.kind = 'load' AND NOT EXISTS (
                     SELECT FROM pg_locks k
                     WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
                       AND k.objsubid = 2 AND k.granted
                       AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
            THEN 'interrupted' ELSE l.state END AS state
FROM bulkload.loads l
ORDER BY l.id DESC
LIMIT %(count)s
