-- What the records of earlier loads looked like: by this, one that comes again unchanged is known and passed over.

-- usable --
-- Whether this role may use the table; NULL where there is none.
SELECT has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'DELETE')
FROM (SELECT to_regclass('bulkload.fingerprints')::oid AS oid) AS found

-- one_maker --
-- CREATE ... IF NOT EXISTS is no protection from somebody who creates the same at the same time.
SELECT pg_advisory_xact_lock(hashtextextended('bulkload.fingerprints', 0))

-- create_fingerprints --
-- A fingerprint counts for as long as the row is there in the very version (xmin) that the load left. So it needs no key
-- and no index: whoever writes the row anew has it count no longer. Not logged, since nothing is lost with it but time:
-- after a crash of the server, or on a standby that takes over, all records are written once more.
CREATE UNLOGGED TABLE IF NOT EXISTS bulkload.fingerprints (
    relation oid NOT NULL,
    row_id bigint NOT NULL,
    row_version xid NOT NULL,
    digest bytea NOT NULL
);
COMMENT ON TABLE bulkload.fingerprints IS
    'Digests of the records that rows were made of; to delete them is safe, and has the next load write all records'

-- tables --
-- What tells these tables from others of their names, and from what they were before they were emptied or rewritten; and
-- whether this role may read the versions of the first one's rows.
WITH RECURSIVE family AS (
    SELECT relation, place FROM unnest(%(relations)s::oid[]) WITH ORDINALITY AS given(relation, place)
    UNION
    SELECT i.inhrelid, f.place FROM pg_inherits i JOIN family f ON f.relation = i.inhparent
)
SELECT string_agg(concat_ws(' ', place, relation, pg_relation_filenode(relation)), ', ' ORDER BY place, relation),
       has_table_privilege((%(relations)s::oid[])[1], 'SELECT')
FROM family

-- stored --
-- All that count, sorted, in one piece.
SELECT string_agg(f.digest, ''::bytea ORDER BY f.digest)
FROM bulkload.fingerprints f JOIN {target} AS t ON t.{id} = f.row_id AND t.xmin = f.row_version
WHERE f.relation = %(relation)s

-- store --
-- Those of rows that are written; of several for one row the last, which may be none.
INSERT INTO bulkload.fingerprints (relation, row_id, row_version, digest)
SELECT %(relation)s, n.row_id, t.xmin, n.digest
FROM (
    SELECT row_id, substring(%(digests)s::bytea FROM (16 * place - 15)::int FOR 16) AS digest
    FROM (
        SELECT DISTINCT ON (row_id) row_id, place FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS source(row_id, place)
        ORDER BY row_id, place DESC
    ) AS last
) AS n
JOIN {target} AS t ON t.{id} = n.row_id AND t.{id} BETWEEN %(first)s AND %(last)s
WHERE n.digest <> %(none)s::bytea

-- this_version --
-- What this transaction gives to the rows that it writes.
SELECT txid_current() % 4294967296

-- copy --
-- Those of rows that are all written by this transaction.
COPY bulkload.fingerprints (relation, row_id, row_version, digest) FROM STDIN (FORMAT binary)

-- remove --
-- Those of rows whose own version does not tell that what belongs to them has changed.
DELETE FROM bulkload.fingerprints WHERE relation = %(relation)s AND row_id = ANY(%(ids)s)

-- sweep --
-- Those that count no longer, and those of tables that are gone; but for what another load removes at this moment.
DELETE FROM bulkload.fingerprints WHERE ctid = ANY(ARRAY(
    SELECT f.ctid
    FROM bulkload.fingerprints f
    WHERE (f.relation = %(relation)s
           AND NOT EXISTS (SELECT FROM {target} AS t WHERE t.{id} = f.row_id AND t.xmin = f.row_version))
       OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = f.relation)
    FOR UPDATE OF f SKIP LOCKED
))
