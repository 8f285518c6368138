"""A job whose tables refuse rows for every reason that only a server knows; worker processes import it from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bulkload import Entity, Id, Job, JsonRecords, Keep, Lookup, Plan, Replace, Sink, Table, record

SCHEMA = """
    CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
    CREATE TABLE products (sku text PRIMARY KEY);
    INSERT INTO products SELECT 'p' || n FROM generate_series(0, 9) AS n;
    CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name <> 'nobody'));
    CREATE TABLE orders (
        id serial PRIMARY KEY, number int NOT NULL UNIQUE, customer_id int NOT NULL REFERENCES customers,
        code text, begins int, ends int, during int4range GENERATED ALWAYS AS (int4range(begins, ends)) STORED,
        weight even, region text NOT NULL DEFAULT 'here', ticket int,
        EXCLUDE USING gist (during WITH &&), UNIQUE (ticket) DEFERRABLE INITIALLY IMMEDIATE
    );
    CREATE UNIQUE INDEX orders_code ON orders (lower(code));
    CREATE TABLE lines (
        order_id int NOT NULL REFERENCES orders, sku text NOT NULL REFERENCES products,
        amount int NOT NULL CHECK (amount <> 13)
    );

    CREATE FUNCTION lose_region() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.code = 'lost' THEN NEW.region := NULL; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER lose_region BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION lose_region();

    CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.amount = 98 THEN RAISE EXCEPTION 'not 98' USING ERRCODE = 'BL001', DETAIL = 'of ' || NEW.sku; END IF;
        IF NEW.amount = 99 THEN RAISE EXCEPTION 'not 99'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse_row AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION refuse_row();

    CREATE FUNCTION refuse_rows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM added WHERE amount = 97) THEN RAISE EXCEPTION 'not 97'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_rows AFTER INSERT ON lines REFERENCING NEW TABLE AS added EXECUTE FUNCTION refuse_rows();
"""

CONTENT = """
    SELECT o.number, c.name, o.code, o.begins, o.ends, o.weight, o.region, o.ticket,
           array_agg((l.sku, l.amount)::text ORDER BY l.amount, l.sku)
    FROM orders o JOIN customers c ON c.id = customer_id LEFT JOIN lines l ON l.order_id = o.id
    GROUP BY o.id, c.id ORDER BY 1
"""


@record
class Customer:
    name: str


@record
class Order:
    number: int
    customer_id: Id[Customer]
    code: str | None
    begins: int
    ends: int
    weight: int
    ticket: int | None


@record
class OrderLine:
    order_id: Id[Order]
    sku: str
    amount: int


COLUMNS = ("number", "customer_id", "code", "begins", "ends", "weight", "ticket")
CUSTOMERS = Entity("customers", Customer, ("name",), conflict=Keep(on=("name",)))
ORDERS = Entity("orders", Order, COLUMNS)
LINES = Table("lines", OrderLine, ("order_id", "sku", "amount"))
REPLACED_ORDERS = Entity("orders", Order, COLUMNS, conflict=Replace(on=("number",)))
BY_NUMBER = Lookup(REPLACED_ORDERS, on=("number",))
READ = JsonRecords(dict[str, Any], key="number")


def add_order(sink: Sink, document: dict[str, Any], orders: Entity[Order] = ORDERS) -> None:
    """An order with its lines."""
    customer = sink.add(CUSTOMERS, Customer(document["customer"]))
    number, code, begins = document["number"], document.get("code"), document["begins"]
    ends, weight, ticket = document["ends"], document["weight"], document.get("ticket")
    order = sink.add(orders, Order(number, customer, code, begins, ends, weight, ticket))
    for sku, amount in document["lines"]:
        sink.add(LINES, OrderLine(order, sku, amount))


def replace_order(sink: Sink, document: dict[str, Any]) -> None:
    """The same, in place of an order with this number."""
    add_order(sink, document, REPLACED_ORDERS)


def add_gift(sink: Sink, document: dict[str, Any]) -> None:
    """A line more, for an order that is there."""
    order = sink.find(BY_NUMBER, document["number"])
    assert order is not None
    sink.add(LINES, OrderLine(order, "p5", 7))


JOB = Job("orders", Plan(CUSTOMERS, ORDERS, LINES), READ, add_order)
REPLACING_JOB = Job("orders", Plan(CUSTOMERS, REPLACED_ORDERS, LINES), READ, replace_order, identity=REPLACED_ORDERS)


def order(number: int, **changes: Any) -> dict[str, Any]:
    """An order that goes in; customers are shared by many."""
    good: dict[str, Any] = {
        "number": number,
        "customer": f"c{number % 7}",
        "code": f"code {number}",
        "begins": 10 * number,
        "ends": 10 * number + 9,
        "weight": 2 * number,
        "lines": [[f"p{number % 10}", 1], [f"p{number % 3}", 2]],
    }
    return good | changes


def _lines(*line: object) -> Callable[[int], dict[str, Any]]:
    return lambda number: order(number, lines=[["p1", 1], list(line), ["p2", 2]])


def before(number: int) -> int:
    """An order before it that some collide with, in the same chunk of 20."""
    return number // 20 * 20


BAD: dict[str, tuple[str, str, Callable[[int], dict[str, Any]]]] = {
    "unique constraint": ("23505", "orders_number_key", lambda number: order(before(number))),
    "unique index": ("23505", "orders_code", lambda number: order(number, code=f"CODE {before(number)}")),
    "foreign key": ("23503", "lines_sku_fkey", _lines("p99", 1)),
    "check": ("23514", "lines_amount_check", _lines("p1", 13)),
    "check of a shared row": ("23514", "customers_name_check", lambda number: order(number, customer="nobody")),
    "exclusion": ("23P01", "orders_during_excl", lambda number: order(number, begins=10 * before(number) + 3)),
    "not null": ("23502", "", lambda number: order(number, code="lost")),
    "domain": ("23514", "even_check", lambda number: order(number, weight=1)),
    "generated column": ("22000", "", lambda number: order(number, begins=10 * number + 3, ends=10 * number)),
    "row trigger": ("P0001", "", _lines("p1", 99)),
    "row trigger with a state of its own": ("BL001", "", _lines("p1", 98)),
    "statement trigger": ("P0001", "", _lines("p1", 97)),
}
"""What is wrong with a record, its SQLSTATE and constraint, and how it is made."""
COLLIDING = ("unique constraint", "unique index", "exclusion")
"""What is wrong with a record only beside another one."""
