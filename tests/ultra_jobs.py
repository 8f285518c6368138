"""Jobs for loads on several connections; worker processes import them from here."""

from __future__ import annotations

from typing import Any

from bulkload import Entity, Id, Job, JsonRecords, Keep, Plan, Replace, Sink, Table, UsageError, gamedb, record
from bulkload.gamedb import documents, mapping, tables

SCHEMA = """
    CREATE TABLE words (id serial PRIMARY KEY, text varchar(12) NOT NULL UNIQUE);
    CREATE TABLE pages (id serial PRIMARY KEY, slug text NOT NULL UNIQUE, version int NOT NULL);
    CREATE TABLE sentences (id serial PRIMARY KEY, page_id int NOT NULL REFERENCES pages, number int NOT NULL);
    CREATE TABLE sentence_words (sentence_id int NOT NULL REFERENCES sentences, word_id int NOT NULL REFERENCES words);
    CREATE TABLE countries (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE cities (id serial PRIMARY KEY, name text NOT NULL UNIQUE, country_id int REFERENCES countries);
    CREATE TABLE visits (id serial PRIMARY KEY, city_id int NOT NULL REFERENCES cities, day int NOT NULL);
    CREATE INDEX visits_day ON visits (day);
"""


@record
class Word:
    text: str


@record
class Page:
    slug: str
    version: int


@record
class Sentence:
    page_id: Id[Page]
    number: int


@record
class SentenceWord:
    sentence_id: Id[Sentence]
    word_id: Id[Word]


@record
class Country:
    name: str


@record
class City:
    name: str
    country_id: Id[Country]


@record
class Visit:
    city_id: Id[City]
    day: int


WORDS = Entity("words", Word, ("text",), conflict=Keep(on=("text",)))
PAGES = Entity("pages", Page, ("slug", "version"), conflict=Replace(on=("slug",)))
SENTENCES = Entity("sentences", Sentence, ("page_id", "number"))
SENTENCE_WORDS = Table("sentence_words", SentenceWord, ("sentence_id", "word_id"))
COUNTRIES = Entity("countries", Country, ("name",), conflict=Keep(on=("name",)))
CITIES = Entity("cities", City, ("name", "country_id"), conflict=Keep(on=("name",)))
VISITS = Entity("visits", Visit, ("city_id", "day"))

PAGE_PLAN = Plan(WORDS, PAGES, SENTENCES, SENTENCE_WORDS)
VISIT_PLAN = Plan(COUNTRIES, CITIES, VISITS)
READ = JsonRecords(dict[str, Any], key="slug")


def add_page(sink: Sink, document: dict[str, Any]) -> None:
    """A page with its sentences, one a word."""
    page = sink.add(PAGES, Page(document["slug"], document["version"]))
    for number, text in enumerate(document["words"]):
        sentence = sink.add(SENTENCES, Sentence(page, number))
        sink.add(SENTENCE_WORDS, SentenceWord(sentence, sink.add(WORDS, Word(text))))


def add_visit(sink: Sink, document: dict[str, Any]) -> None:
    """A visit to a city, which is in a country: one shared row refers to another."""
    city = City(document["city"], sink.add(COUNTRIES, Country(document["country"])))
    sink.add(VISITS, Visit(sink.add(CITIES, city), document["day"]))


def give_up(sink: Sink, document: documents.Item) -> None:
    """Maps items, up to one of a certain name, which the mapping has no mind to go on with."""
    if document.name == "the end":
        raise UsageError("here the mapping gives up")
    mapping.add_item(sink, document)


PAGES_JOB = Job("pages", PAGE_PLAN, READ, add_page, identity=PAGES)
UNTOLD_PAGES_JOB = Job("pages", PAGE_PLAN, READ, add_page)
"""Without an identity: a page may come again in another chunk."""
VISITS_JOB = Job("visits", VISIT_PLAN, READ, add_visit)
ENDING_ITEMS_JOB = Job("items", tables.ITEM_PLAN, gamedb.ITEMS_JOB.read, give_up, identity=tables.ITEMS)
