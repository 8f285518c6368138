-- What a session of this package's own is set to, when it begins.

-- no_statement_timeout --
-- First of all, since what comes next may itself take longer.
SET statement_timeout TO 0

-- settings --
-- Time limits that suit web requests would end a load half way. How long to wait for tables is said where they are
-- locked; the names are those of all versions. A client that is gone is noticed within a minute while the session waits
-- for it, and soon while it works, unless somebody has set that himself; who it is, is told for whoever asks for it.
-- Not every system can look for a client while it works.
SELECT set_config(name, value, false), pg_backend_pid(),
       (SELECT (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity
        WHERE pid = pg_backend_pid())
FROM pg_settings
JOIN (VALUES ('lock_timeout', '0', true), ('idle_in_transaction_session_timeout', '0', true),
             ('idle_session_timeout', '0', true), ('transaction_timeout', '0', true),
             ('tcp_keepalives_idle', '30', false),
             ('tcp_keepalives_interval', '10', false), ('tcp_keepalives_count', '3', false),
             ('client_connection_check_interval', '10s', false)) AS wanted (name, value, always) USING (name)
WHERE always OR (source = 'default' AND (name NOT LIKE 'client%' OR version() LIKE '%linux%'))

-- async_commit --
-- A commit is told before it is on the disk.
SET synchronous_commit TO off

-- sync_commit --
-- As the role, the database or the server says.
RESET synchronous_commit

-- session_runs --
-- Whether a session is still there.
SELECT 1 FROM pg_stat_activity WHERE pid = %(pid)s

-- at_work --
-- What a session is doing, for another one: whether it is at work, not waiting for its client in turn, and who holds a
-- lock that it waits for.
SELECT coalesce(state = 'disabled' OR (state = 'active' AND coalesce(wait_event, '') NOT IN ('ClientRead', 'ClientWrite')),
                true),
       CASE WHEN wait_event_type = 'Lock' THEN (
           SELECT string_agg(format('process %%s (user %%s, %%s%%s)', b.pid, coalesce(b.usename, '?'),
                                    coalesce(nullif(b.application_name, '') || ', ', ''),
                                    coalesce(b.state || ' since ' || date_trunc('second', b.state_change),
                                             'autovacuum or the like')), '; ')
           FROM pg_stat_activity b WHERE b.pid = ANY(pg_blocking_pids(a.pid))) END
FROM pg_stat_activity a WHERE pid = %(pid)s AND (extract(epoch FROM backend_start) * 1000000)::bigint = %(since)s

-- end_session --
-- What it holds is let go.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %(pid)s AND (extract(epoch FROM backend_start) * 1000000)::bigint = %(since)s

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
