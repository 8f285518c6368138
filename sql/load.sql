-- The statements of a load. {target} is a table, {columns} a list of its columns, {key} those of a conflict rule.
-- Rows of a chunk arrive as one array a column: {source} is unnest(...) AS source(columns), with a parameter each.

-- take_ids --
-- A block of ids. Where nobody else draws from the sequence meanwhile the values are evenly spaced, and only the first
-- and the last are sent; else all of them.
-- Aggregated as they are drawn, in 0.6 microseconds each; kept first in a materialized CTE, in 1.5 (PostgreSQL 18). Beside
-- generate_series in one list, nextval would be called once more than there are rows.
SELECT first, last, step, CASE WHEN last - first <> (%(count)s - 1) * step THEN ids END
FROM (SELECT min(id) AS first, max(id) AS last, array_agg(id) AS ids
      FROM (SELECT nextval(%(sequence)s::regclass) AS id FROM (SELECT generate_series(1, %(count)s)) AS each) AS drawn
     ) AS block,
     (SELECT abs(seqincrement) AS step FROM pg_sequence WHERE seqrelid = %(sequence)s::regclass) AS sequence

-- truncate --
-- All tables in one statement, since they refer to each other. Sequences go on: an id is never used twice.
TRUNCATE {targets}

-- analyze --
-- Statistics for the planner, which a fresh load has made worthless.
ANALYZE {targets}

-- copy --
-- Rows in the binary format, each field already in its column's own type.
COPY {target} ({columns}) FROM STDIN (FORMAT binary)

-- copy_frozen --
-- The same into a table that was emptied in this transaction, which leaves nothing to do for the first who reads the
-- rows, nor for vacuum.
COPY {target} ({columns}) FROM STDIN (FORMAT binary, FREEZE)

-- copy_csv --
-- Rows as CSV, their values as the server reads them.
COPY {target} ({columns}) FROM STDIN (FORMAT csv, HEADER {header})

-- count_rows --
-- The rows of a table, as far as they matter.
SELECT count(*) FROM (SELECT FROM {target} LIMIT {limit}) AS counted

-- read_keys --
-- All keys of a table, for a load that meets most of them. One more than is wanted tells that there are too many.
SELECT {id}, {key} FROM {target} ORDER BY {id} LIMIT {limit}

-- match_keys --
-- Which of these keys exist, by their place in the arrays, and the ids of their rows.
SELECT source.place, {id}
FROM {source} JOIN {target} AS target ON {on}

-- match_and_lock_keys --
-- The same, of rows that nobody deletes until the transaction ends; one that is being deleted is waited for.
SELECT source.place, {id}
FROM {source} JOIN {target} AS target ON {on}
ORDER BY {order} FOR KEY SHARE OF target

-- lockable --
-- The tables of which this role may lock rows: it needs UPDATE on a column, whatever else it may do.
SELECT relation::bigint FROM unnest(%(relations)s::oid[]) AS relation
WHERE has_any_column_privilege(relation, 'UPDATE')

-- insert_rows --
-- Plain rows, where COPY is not to be used.
INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values} FROM {source}

-- insert_new_keys --
-- Rows whose keys were not there a moment ago. In key order, so that two sessions which insert the same keys wait for
-- each other instead of locking each other out; a key that came in between is left to be matched again.
INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values} FROM {source} ORDER BY {order}
ON CONFLICT ({key}) DO NOTHING
RETURNING {id}

-- update_rows --
-- Rows whose keys are there; one that says the same already is not written again.
UPDATE {target} AS target SET {assignments}
FROM {source}
WHERE {on} AND ({before}) IS DISTINCT FROM ({after})

-- replace_rows --
-- Rows whose keys are there, and with which other rows go and come. A row that says the same already gets a new version
-- all the same: by that, fingerprints that were made of the old one count no longer.
UPDATE {target} AS target SET {assignments}
FROM {source}
WHERE {on}

-- lock_rows --
-- Rows that are to be replaced, in an order, so that two who replace some of the same wait for each other one way only.
SELECT FROM {target} WHERE {id} = ANY(%(ids)s) ORDER BY {id} FOR NO KEY UPDATE

-- referred_ids --
-- The ids that a column of these rows holds.
SELECT DISTINCT {column} FROM {target} WHERE {key} = ANY(%(ids)s) AND {column} IS NOT NULL

-- unshared_ids --
-- Those rows to which this column refers no more: what another row refers to as well stays.
SELECT target.{id} FROM {target} AS target
WHERE target.{id} = ANY(%(ids)s)
  AND NOT EXISTS (SELECT FROM {referring} AS referring WHERE referring.{column} = target.{id})

-- unowned_ids --
-- Those rows that do not belong to another one by this column.
SELECT {id} FROM {target} WHERE {id} = ANY(%(ids)s) AND {column} IS NULL

-- delete_rows --
-- Rows that belong to what is being replaced.
DELETE FROM {target} WHERE {key} = ANY(%(ids)s)

-- savepoint --
-- What a batch is rolled back to where the server refuses a row of it.
SAVEPOINT bulkload_batch

-- next_savepoint --
-- The batch is in: the savepoint is moved behind it, in one round trip.
RELEASE SAVEPOINT bulkload_batch; SAVEPOINT bulkload_batch

-- back_to_savepoint --
-- The savepoint stays where it is.
ROLLBACK TO SAVEPOINT bulkload_batch
