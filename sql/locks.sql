-- The locks of a load, and who is in their way.

-- patience_now --
-- To be put back.
SELECT current_setting('lock_timeout')

-- lock_patience --
-- For the statements that follow, until the transaction ends; 0 is without end.
SELECT set_config('lock_timeout', %(patience)s, true)

-- lock_exclusive --
-- What TRUNCATE and ALTER TABLE would take one by one.
LOCK TABLE {targets} IN ACCESS EXCLUSIVE MODE

-- lock_for_keys --
-- Keeps other writers out until the transaction ends, so that a key found missing stays missing; readers go on.
LOCK TABLE {targets} IN SHARE ROW EXCLUSIVE MODE

-- holders --
-- The sessions with a lock on these tables that is in the way of ACCESS EXCLUSIVE, or of SHARE ROW EXCLUSIVE.
SELECT format('process %%s (user %%s, %%s%%s) on %%s', l.pid, coalesce(a.usename, '?'),
              coalesce(nullif(a.application_name, '') || ', ', ''),
              coalesce(a.state || ' since ' || date_trunc('second', a.state_change), 'autovacuum or the like'),
              string_agg(DISTINCT l.relation::regclass::text, ', '))
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.relation = ANY(%(exclusive)s::oid[])
       OR (l.relation = ANY(%(shared)s::oid[]) AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')))
GROUP BY l.pid, a.usename, a.application_name, a.state, a.state_change
