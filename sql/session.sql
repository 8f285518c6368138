-- What a session of this package's own is set to, when it begins.

-- settings --
-- Time limits that suit web requests would end a load half way. How long to wait for tables is said where they are
-- locked; the names are those of all versions.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
               'transaction_timeout')

-- async_commit --
-- A commit is told before it is on the disk.
SET synchronous_commit TO off

-- sync_commit --
-- As the role, the database or the server says.
RESET synchronous_commit

-- session_runs --
-- Whether a session is still there.
SELECT 1 FROM pg_stat_activity WHERE pid = %(pid)s

-- begin --
-- As bulkload.server.transaction: it sees what others commit while it runs, whatever the session's default.
BEGIN ISOLATION LEVEL READ COMMITTED

-- commit --
-- The end of it.
COMMIT

-- savepoint --
-- The same inside a transaction.
SAVEPOINT bulkload

-- release --
-- What was done since the savepoint is done.
RELEASE bulkload

-- undo --
-- What was done since the savepoint is undone.
ROLLBACK TO bulkload

-- stakes --
-- What a load that is not atomic would risk on this server. Standbys are counted as far as this role may see them.
SELECT current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync') AS fsync,
       (SELECT count(*) FROM pg_stat_replication)
           + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active) AS standbys,
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()) AS others,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0)
           - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS free_connections
