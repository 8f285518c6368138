-- Files into tables that were empty.

-- copy --
COPY {table} ({columns}) FROM STDIN (FORMAT csv)

-- set_sequence --
-- The ids that the files brought are taken.
SELECT setval(pg_get_serial_sequence(%(table)s, 'id'), coalesce((SELECT max(id) FROM {table}), 0) + 1, false)
