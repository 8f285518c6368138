#!/bin/sh
# Does what the tests need of the entrypoint of the official image: makes a cluster with the user, password and database
# of the environment, and becomes the server.
set -eu
printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C \
    --locale-provider=builtin --builtin-locale=C.UTF-8 --no-sync >/dev/null
echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
# Without a server, so that nobody connects before all is there.
[ "$POSTGRES_DB" = postgres ] || echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single postgres >/dev/null
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
