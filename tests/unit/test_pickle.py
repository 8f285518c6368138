"""What is sent to another process arrives as what is there already."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from bulkload import CsvRecords, Entity, Job, Keep, Lookup, Plan, Sink, Table, UsageError, gamedb, record
from bulkload.errors import RecordError
from bulkload.gamedb import tables


@record
class Tag:
    name: str


TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
TAGS_BY_NAME = Lookup(TAGS, on=("name",))
PLAN = Plan(TAGS, lookups=[TAGS_BY_NAME])


def read(fields: list[str]) -> list[str]:
    return fields


def add(sink: Sink, fields: list[str]) -> None:
    sink.add(TAGS, Tag(fields[0]))


JOB = Job("tags", PLAN, CsvRecords(read), add, identity=TAGS)


def test_relations_and_lookups_come_back_as_themselves() -> None:
    """They are compared by identity."""
    assert pickle.loads(pickle.dumps((TAGS, TAGS_BY_NAME))) == (TAGS, TAGS_BY_NAME)


def test_a_plan_comes_back_with_its_order() -> None:
    """The relations are the same ones, parents first as before; so are the references."""
    back = pickle.loads(pickle.dumps(tables.ITEM_PLAN))
    assert back.relations == tables.ITEM_PLAN.relations
    assert back.references == tables.ITEM_PLAN.references
    assert pickle.loads(pickle.dumps(PLAN)).lookups == (TAGS_BY_NAME,)


def test_a_job_comes_back_equal() -> None:
    """Its functions are pickled by reference as well."""
    for job in (JOB, gamedb.ITEMS_JOB):
        back = pickle.loads(pickle.dumps(job))
        for name in ("name", "read", "add", "identity", "version"):
            assert getattr(back, name) == getattr(job, name)
        assert back.plan.relations == job.plan.relations


def test_another_process_finds_the_relations_that_its_own_modules_made() -> None:
    """The job brings its modules with it, before its plan."""
    script = (
        "import pickle, sys; job = pickle.loads(sys.stdin.buffer.read());"
        "from bulkload.gamedb import tables;"
        "print(job.plan.relations == tables.ITEM_PLAN.relations, job.identity is tables.ITEMS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(gamedb.ITEMS_JOB), stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.split() == [b"True", b"True"]


def test_relations_of_other_values_are_made() -> None:
    """What nobody has made here yet is made."""
    there = Table("only_there", Tag, ("name",))
    sent = pickle.dumps(there)
    del there
    made = pickle.loads(sent)
    assert (type(made), made.name, made.record, made.columns) == (Table, "only_there", Tag, ("name",))


def test_of_two_relations_alike_only_the_first_can_be_sent() -> None:
    """The other process could not tell which is meant."""
    twin = Entity("tags", Tag, ("name",), conflict=Keep(on=["name"]))  # type: ignore[arg-type, unused-ignore]
    with pytest.raises(UsageError, match="tags is there twice with the same meaning; define it once"):
        pickle.dumps(twin)
    assert pickle.loads(pickle.dumps(TAGS)) is TAGS


def test_errors_about_records_keep_what_they_say() -> None:
    """They are raised in one process and shown in another."""
    error = RecordError("bad", path="a[0]", table="t", column="c").at("file", "record 1")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
