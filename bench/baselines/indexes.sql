-- Secondary indexes away while rows come in, and back.

-- secondary --
-- The indexes of the schema's tables that no constraint stands on: names, and the statements that make them anew.
SELECT x.relname, pg_get_indexdef(i.indexrelid)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relnamespace = 'public'::regnamespace
  AND t.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
ORDER BY x.relname

-- drop --
-- All at once.
DROP INDEX {indexes}

-- set_memory --
-- For building an index.
SET maintenance_work_mem = '256MB'
