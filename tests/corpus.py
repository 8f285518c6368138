"""Schemas with every kind of index and constraint, and what can be said of them: what is dropped must come back so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg

Connection = psycopg.Connection[tuple[object, ...]]

# Plain tables, with rows, so that what comes back is checked against them.
TABLES = r'''
CREATE TABLE kinds (id serial PRIMARY KEY, name text NOT NULL, CONSTRAINT kinds_once UNIQUE (name));
CREATE TABLE "Odd ""things""" (
    id int CONSTRAINT "Odd pk" PRIMARY KEY, "the Kind" int REFERENCES kinds ON DELETE CASCADE,
    name text, place int, extra text, span int4range,
    CONSTRAINT "once, deferred" UNIQUE (name, place) INCLUDE (extra) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT once_deferrable UNIQUE (extra) DEFERRABLE,
    CONSTRAINT apart EXCLUDE USING gist (span WITH &&) WHERE (place > 5),
    CONSTRAINT apart_too EXCLUDE USING btree (id WITH =) WITH (fillfactor = 77) DEFERRABLE
);
CREATE TABLE parts (
    thing int REFERENCES "Odd ""things""" ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED, number int,
    CONSTRAINT parts_pkey PRIMARY KEY (thing, number) WITH (fillfactor = 70)
);
CREATE TABLE outside (
    thing int CONSTRAINT named REFERENCES "Odd ""things""" MATCH FULL,
    kind text REFERENCES kinds (name) ON UPDATE CASCADE
);
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, root int REFERENCES tree ON DELETE SET NULL);
ALTER TABLE parts ADD CONSTRAINT loose FOREIGN KEY (number) REFERENCES kinds NOT VALID;
COMMENT ON CONSTRAINT loose ON parts IS 'not checked, ''on purpose'' yet';
COMMENT ON CONSTRAINT kinds_once ON kinds IS 'a key''s comment';
COMMENT ON INDEX kinds_once IS 'its index''s comment';
CREATE FUNCTION lowered(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
CREATE SCHEMA elsewhere;
CREATE FUNCTION elsewhere.doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
CREATE TABLE elsewhere.kinds (id int PRIMARY KEY, kind int REFERENCES public.kinds);
CREATE INDEX ON elsewhere.kinds (kind);
CREATE INDEX things_lower ON "Odd ""things""" (lowered(name) text_pattern_ops DESC NULLS LAST)
    WITH (fillfactor = 60) WHERE place <> 3;
CREATE INDEX things_doubled ON "Odd ""things""" (elsewhere.doubled(place), (id + place));
ALTER INDEX things_doubled ALTER COLUMN 1 SET STATISTICS 500;
ALTER INDEX things_doubled ALTER COLUMN 2 SET STATISTICS 0;
CREATE UNIQUE INDEX things_unique ON "Odd ""things""" (place, id) NULLS NOT DISTINCT;
CREATE INDEX things_gin ON "Odd ""things""" USING gin (to_tsvector('english', name)) WITH (fastupdate = off);
CREATE INDEX things_brin ON "Odd ""things""" USING brin (place) WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX things_hash ON "Odd ""things""" USING hash (name);
CREATE INDEX things_spgist ON "Odd ""things""" USING spgist (name);
CREATE INDEX things_collated ON "Odd ""things""" (name COLLATE "C", extra COLLATE "POSIX" DESC);
CREATE INDEX "Things ""odd"" name" ON "Odd ""things""" ("the Kind") INCLUDE (place, extra);
CREATE INDEX things_remarked ON "Odd ""things""" (place);
COMMENT ON INDEX things_remarked IS 'with a comment; "quoted"';
CREATE INDEX things_clustered ON "Odd ""things""" (name);
ALTER TABLE "Odd ""things""" CLUSTER ON things_clustered;
CREATE UNIQUE INDEX parts_identity ON parts (number, thing);
ALTER TABLE parts REPLICA IDENTITY USING INDEX parts_identity;
ALTER TABLE kinds CLUSTER ON kinds_pkey;
CREATE TABLE viewed (id int PRIMARY KEY, name text);
CREATE VIEW counted AS SELECT v.id, v.name, count(*) FROM viewed v JOIN parts p ON p.thing = v.id GROUP BY v.id;
'''

ROWS = r'''
INSERT INTO kinds (name) SELECT 'k' || n FROM generate_series(1, 20) AS n;
INSERT INTO "Odd ""things""" SELECT n, 1 + n % 20, 'n' || n, n, 'x' || n, int4range(2 * n, 2 * n + 1)
    FROM generate_series(1, 200) AS n;
ALTER TABLE parts DISABLE TRIGGER USER;
INSERT INTO parts SELECT n, 1 + n % 20 FROM generate_series(1, 200) AS n;
INSERT INTO outside SELECT n, 'k1' FROM generate_series(1, 50) AS n;
INSERT INTO tree SELECT n, nullif(n / 2, 0), 1 FROM generate_series(1, 50) AS n;
INSERT INTO elsewhere.kinds SELECT n, n FROM generate_series(1, 20) AS n;
INSERT INTO viewed SELECT n, 'v' FROM generate_series(1, 5) AS n;
'''

# Partitions of partitions, with what is attached and what is their own.
PARTITIONED = r"""
CREATE TABLE regions (id int PRIMARY KEY);
CREATE TABLE events (
    id int, region int, day int, note text, CONSTRAINT events_pkey PRIMARY KEY (id, region, day)
) PARTITION BY LIST (region);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
CREATE TABLE events_2 (
    note text, day int, region int NOT NULL, id int NOT NULL, CONSTRAINT own_key PRIMARY KEY (id, region, day)
);
CREATE INDEX own_name ON events_2 (day);
CREATE TABLE events_3 PARTITION OF events FOR VALUES IN (3) PARTITION BY RANGE (day);
CREATE TABLE events_3_low PARTITION OF events_3 FOR VALUES FROM (0) TO (10);
CREATE TABLE events_3_high PARTITION OF events_3 FOR VALUES FROM (10) TO (20);
CREATE INDEX events_day ON events (day);
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES IN (2);
CREATE INDEX events_note ON events USING hash (note);
CREATE INDEX only_here ON events_1 (note, day) WHERE day > 3;
CREATE INDEX half ON ONLY events (note, id);
COMMENT ON INDEX events_note IS 'of all';
COMMENT ON INDEX own_name IS 'of a part';
CREATE UNIQUE INDEX events_unique ON events (region, day, id);
ALTER TABLE events ADD CONSTRAINT events_region FOREIGN KEY (region) REFERENCES regions;
CREATE TABLE notes (
    event int, region int, day int, CONSTRAINT of_event FOREIGN KEY (event, region, day) REFERENCES events
);
INSERT INTO regions SELECT generate_series(1, 3);
INSERT INTO events SELECT n, 1 + n % 3, n % 20, 'n' || n FROM generate_series(1, 100) AS n;
INSERT INTO notes SELECT n, 1 + n % 3, n % 20 FROM generate_series(1, 100) AS n;
"""


def create(connection: Connection) -> None:
    """All of it."""
    connection.execute((TABLES + ROWS + PARTITIONED).encode())


def schema_dump(program: Path, conninfo: str) -> list[str]:
    """What pg_dump says of the database but for the ledger, its statements sorted: their order says nothing."""
    command = [str(program), "--schema-only", "--exclude-schema=bulkload", f"--dbname={conninfo}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Newer versions put a key of chance around their output.
    lines = [line for line in text.splitlines() if not line.startswith(("--", r"\restrict", r"\unrestrict"))]
    return sorted(statement.strip() for statement in "\n".join(lines).split(";\n"))
