-- The ledger: which loads there were, and what was taken away and is not back yet. It lies in the database that it is
-- about, so that any machine can put things right.

-- ledger_exists --
-- Whether the ledger is there.
SELECT to_regclass('bulkload.dropped') IS NOT NULL

-- one_at_a_time --
-- CREATE ... IF NOT EXISTS is no protection from somebody who creates the same at the same time.
SELECT pg_advisory_xact_lock(%(class)s, 0)

-- create_ledger --
-- A load is alive as long as somebody holds the advisory lock of its id. A dropped object is struck in the transaction
-- that brings it back. Everybody may read it, as everybody may read the catalog: a load with the least rights has to
-- see whether another one holds its tables.
CREATE SCHEMA IF NOT EXISTS bulkload;
COMMENT ON SCHEMA bulkload IS 'The ledger of python -m bulkload: loads, and indexes and constraints to be restored';
-- What a run that goes on with a load must find as it was: `circumstances`, and the `catalog` of its tables.
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
    progress jsonb NOT NULL DEFAULT '{}',
    circumstances jsonb NOT NULL DEFAULT '{}',
    catalog jsonb
);
-- What a load that has several transactions reads: of standard input and pipes, which cannot be read again, there is no
-- fingerprint.
CREATE TABLE IF NOT EXISTS bulkload.sources (
    load integer NOT NULL REFERENCES bulkload.loads ON DELETE CASCADE,
    input integer NOT NULL,
    job text NOT NULL,
    version text NOT NULL,
    path text NOT NULL,
    size bigint,
    sha256 text,
    PRIMARY KEY (load, input)
);
-- What such a load has done, a line a transaction, written in that very transaction: the positions of the records of an
-- input that are done with, whatever became of them. Without an input: rows that chunks share, which come before them.
CREATE TABLE IF NOT EXISTS bulkload.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY,
    load integer NOT NULL REFERENCES bulkload.loads ON DELETE CASCADE,
    input integer,
    done int8multirange NOT NULL,
    loaded bigint NOT NULL,
    skipped bigint NOT NULL,
    rejected jsonb NOT NULL,
    tables jsonb NOT NULL,
    written timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (load, id)
);
-- The loads that can be gone on with, if they do not run: some of it is in, and nothing came into their tables since.
CREATE OR REPLACE VIEW bulkload.unfinished AS
SELECT l.id AS load
FROM bulkload.loads l
WHERE l.kind = 'load' AND l.state <> 'done'
  AND EXISTS (SELECT FROM bulkload.chunks c WHERE c.load = l.id)
  AND NOT EXISTS (SELECT FROM bulkload.sources s WHERE s.load = l.id AND s.sha256 IS NULL)
  AND NOT EXISTS (SELECT FROM bulkload.loads later
                  WHERE later.kind = 'load' AND later.id > l.id AND later.tables && l.tables
                    AND (later.state = 'done' OR later.circumstances @> '{"clear": true}'
                         OR EXISTS (SELECT FROM bulkload.chunks c WHERE c.load = later.id)));
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
GRANT SELECT ON bulkload.loads, bulkload.dropped, bulkload.sources, bulkload.unfinished TO PUBLIC;
-- Reasons of rejects hold values of records.
GRANT SELECT (id, load, input, done, loaded, skipped, tables, written) ON bulkload.chunks TO PUBLIC

-- begin_load --
-- A new line; and old ones go: of loads that began more than 90 days ago and are not among the last 100, unless they run,
-- can be gone on with, or have something away.
WITH pruned AS (
    DELETE FROM bulkload.loads WHERE id IN (
        SELECT l.id FROM bulkload.loads l
        WHERE l.started < now() - interval '90 days'
          AND l.id < (SELECT min(last.id) FROM (SELECT id FROM bulkload.loads ORDER BY id DESC LIMIT 100) AS last)
          AND NOT EXISTS (SELECT FROM bulkload.dropped d WHERE d.load = l.id)
          AND NOT EXISTS (SELECT FROM bulkload.unfinished u WHERE u.load = l.id)
          AND NOT EXISTS (
              SELECT FROM pg_locks k
              WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
                AND k.objsubid = 2 AND k.granted
                AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
        FOR UPDATE SKIP LOCKED))
INSERT INTO bulkload.loads (kind, mode, tables, client, version, catalog)
VALUES (%(kind)s, %(mode)s, %(tables)s, %(client)s, %(version)s, %(catalog)s::jsonb)
RETURNING id

-- lock_load --
-- Keeps others from going on with it at the same time; and whether it runs. Its chunks refer to the line, and are no
-- reason to wait.
SELECT l.state <> 'done' AND NOT EXISTS (
           SELECT FROM pg_locks k
           WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
             AND k.objsubid = 2 AND k.granted
             AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
FROM bulkload.loads l WHERE l.id = %(load)s
FOR NO KEY UPDATE

-- begin_again --
-- A load that was stopped runs again.
UPDATE bulkload.loads SET state = 'running', ended = NULL, client = %(client)s, progress = '{}' WHERE id = %(load)s

-- catalog_of --
-- The catalog of its tables, as it was before the load took anything away.
SELECT catalog FROM bulkload.loads WHERE id = %(load)s

-- set_catalog --
-- All of it is back: what is there now is what is to come back.
UPDATE bulkload.loads SET catalog = %(catalog)s::jsonb WHERE id = %(load)s

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
       (SELECT coalesce(sum(c.loaded), 0)::bigint FROM bulkload.chunks c WHERE c.load = l.id) AS loaded,
       CASE WHEN l.state = 'running' AND l.kind = 'load' AND NOT EXISTS (
                     SELECT FROM pg_locks k
                     WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
                       AND k.objsubid = 2 AND k.granted
                       AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
            THEN 'interrupted' ELSE l.state END AS state
FROM bulkload.loads l
ORDER BY l.id DESC
LIMIT %(count)s
