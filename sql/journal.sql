-- The journal: what a load of several transactions reads, and how far it has come.

-- open --
-- What it reads, and what must be the same where it is gone on with.
WITH told AS (
    UPDATE bulkload.loads SET circumstances = %(circumstances)s::jsonb WHERE id = %(load)s RETURNING id)
INSERT INTO bulkload.sources (load, input, job, version, path, size, sha256)
SELECT told.id, s.input, s.job, s.version, s.path, s.size, s.sha256
FROM told, jsonb_to_recordset(%(sources)s::jsonb)
     AS s (input integer, job text, version text, path text, size bigint, sha256 text)

-- note --
-- What the transaction has done.
INSERT INTO bulkload.chunks (load, input, done, loaded, skipped, rejected, tables)
VALUES (%(load)s, %(input)s, %(done)s::int8multirange, %(loaded)s, %(skipped)s, %(rejected)s::jsonb, %(tables)s::jsonb)

-- missing_rights --
-- The rights on the ledger that this role lacks.
SELECT r.privilege || ' on ' || t.name
FROM unnest(ARRAY['bulkload.loads', 'bulkload.sources', 'bulkload.chunks', 'bulkload.dropped']) AS t (name),
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r (privilege)
WHERE NOT has_table_privilege(t.name, r.privilege)

-- last_load --
-- The last load that changed any of these tables, as far as the ledger knows.
SELECT l.id AS id, l.mode AS mode, l.client AS client, l.version AS version, to_jsonb(l.started) AS started,
       l.state = 'done' AS done, l.circumstances AS circumstances,
       EXISTS (SELECT FROM bulkload.chunks c WHERE c.load = l.id) AS begun,
       EXISTS (SELECT FROM pg_locks k
               WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
                 AND k.objsubid = 2 AND k.granted
                 AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS alive
FROM bulkload.loads l
WHERE l.kind = 'load' AND l.tables && %(tables)s::text[]
  AND (l.state = 'done' OR l.circumstances @> '{"clear": true}'
       OR EXISTS (SELECT FROM bulkload.chunks c WHERE c.load = l.id))
ORDER BY l.id DESC
LIMIT 1

-- sources --
-- What a load reads.
SELECT job, version, path, size, sha256 FROM bulkload.sources WHERE load = %(load)s ORDER BY input

-- counts --
-- The records of each input that are done with.
SELECT input, sum(loaded)::bigint AS loaded, sum(skipped)::bigint AS skipped
FROM bulkload.chunks WHERE load = %(load)s AND input IS NOT NULL GROUP BY input

-- ranges --
-- Which these are.
SELECT merged.input AS input, lower(merged.part) AS first, upper(merged.part) AS beyond
FROM (SELECT c.input, unnest(range_agg(part)) AS part
      FROM bulkload.chunks c, unnest(c.done) AS part
      WHERE c.load = %(load)s AND c.input IS NOT NULL GROUP BY c.input) AS merged
ORDER BY 1, 2

-- rejected --
-- Which of them were rejected, and why.
SELECT c.input AS input, r.position AS position, r.reason AS reason, r.path AS path, r."table" AS "table",
       r."column" AS "column", r.sqlstate AS sqlstate, r."constraint" AS "constraint"
FROM bulkload.chunks c,
     jsonb_to_recordset(c.rejected) AS r (position bigint, reason text, path text, "table" text, "column" text,
                                          sqlstate text, "constraint" text)
WHERE c.load = %(load)s
ORDER BY c.id, r.position

-- rows --
-- What became of the rows of each table.
SELECT t.key AS name, sum((t.value ->> 0)::bigint)::bigint AS inserted, sum((t.value ->> 1)::bigint)::bigint AS updated,
       sum((t.value ->> 2)::bigint)::bigint AS unchanged, sum((t.value ->> 3)::bigint)::bigint AS deleted
FROM bulkload.chunks c, jsonb_each(c.tables) AS t
WHERE c.load = %(load)s
GROUP BY t.key

-- storage --
-- Where the rows of each table are: elsewhere, when it was emptied, rewritten or made anew since. Of what is not logged it
-- is not known, since that is rewritten when it is logged again.
WITH RECURSIVE family AS (
    SELECT relation, relation AS root FROM unnest(%(relations)s::oid[]) AS given (relation)
    UNION
    SELECT i.inhrelid, f.root FROM pg_inherits i JOIN family f ON f.relation = i.inhparent
)
SELECT f.root::bigint AS root, c.oid::bigint AS relation,
       coalesce(CASE WHEN c.relpersistence = 'p' THEN pg_relation_filenode(c.oid) END, 0)::bigint AS file
FROM family f JOIN pg_class c ON c.oid = f.relation

-- is_empty --
-- Whether a table has no row.
SELECT NOT EXISTS (SELECT FROM {target})

-- unfinished --
-- The loads that can be gone on with, and that nobody is at.
SELECT l.id AS id, l.mode AS mode, l.client AS client, to_jsonb(l.started) AS started,
       coalesce(l.circumstances ->> 'schema', '') AS schema, l.circumstances @> '{"clear": true}' AS clear,
       (SELECT sum(c.loaded)::bigint FROM bulkload.chunks c WHERE c.load = l.id) AS loaded,
       (SELECT jsonb_agg(jsonb_build_array(s.job, s.path) ORDER BY s.input) FROM bulkload.sources s
        WHERE s.load = l.id) AS sources
FROM bulkload.loads l JOIN bulkload.unfinished u ON u.load = l.id
WHERE NOT EXISTS (
    SELECT FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.classid = %(class)s::int::oid AND k.objid = l.id::oid
      AND k.objsubid = 2 AND k.granted
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY l.id
