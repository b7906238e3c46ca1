# Writes to a SQLite database for a test, from a process of its own.
#
# `sqlite-writer.py serve FILE`: one JSON command a line on stdin, one answer a line on stdout.
# `sqlite-writer.py random FILE SEED COUNT DDL SECONDS`: random changes; with DDL 1 definitions change in between. With SECONDS
#   other than 0, transactions at a pace for so long, instead of COUNT of them.
# `sqlite-writer.py paced FILE COUNT PAUSE_MS [SYNCHRONOUS]`: single-row commits; prints the moment of each (monotonic ns).

import itertools
import json
import random
import sqlite3
import sys
import time


def connect(path, timeout=30):
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def plain(value):
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, int) and abs(value) > 2**53 - 1:
        return {"integer": str(value)}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"infinity": 1 if value > 0 else -1}
    return value


def serve(path):
    connection = connect(path)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "run" in command:
                connection.executescript(command["run"])
                answer = {"rows": []}
            else:
                cursor = connection.execute(command["query"])
                names = [column[0] for column in cursor.description or []]
                answer = {"rows": [dict(zip(names, map(plain, row))) for row in cursor]}
        except sqlite3.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def value(rng):
    return rng.choice(
        [
            None,
            rng.randrange(-100, 100),
            rng.randrange(2**62, 2**63 - 1),
            rng.random() * 1000,
            "text %d ü" % rng.randrange(1000),
            bytes(rng.randrange(256) for _ in range(rng.randrange(6))),
        ]
    )


def columns(connection, table):
    return [row[1] for row in connection.execute('PRAGMA table_info("%s")' % table)]


def change(connection, rng):
    table = rng.choice(["plain", "pair", "keyless", "uniq", "parent", "child"])
    verb = rng.choice(["INSERT", "INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"])
    number, other = rng.randrange(60), rng.randrange(60)
    roll = rng.random()
    if table == "plain":
        names = columns(connection, table)
        last = names[-1]
        if roll < 0.4:
            connection.execute('%s INTO plain(id, a, "%s") VALUES (?, ?, ?)' % (verb, last), (number, value(rng), value(rng)))
        elif roll < 0.6:
            connection.execute("INSERT INTO plain(id, a) VALUES (?, ?) ON CONFLICT(id) DO UPDATE SET a = excluded.a", (number, value(rng)))
        elif roll < 0.9:
            connection.execute('UPDATE plain SET "%s" = ? WHERE id BETWEEN ? AND ?' % last, (value(rng), number, number + 3))
        else:
            connection.execute("DELETE FROM plain WHERE id = ?", (number,))
    elif table == "pair":
        if roll < 0.5:
            connection.execute(verb + " INTO pair VALUES (?, ?, ?)", ("k%d" % (number % 7), other % 9, value(rng)))
        elif roll < 0.8:
            connection.execute("UPDATE OR REPLACE pair SET y = ? WHERE x = ? AND y = ?", (other % 9, "k%d" % (number % 7), number % 9))
        else:
            connection.execute("DELETE FROM pair WHERE y = ?", (other % 9,))
    elif table == "keyless":
        if roll < 0.6:
            connection.execute("INSERT INTO keyless VALUES (?, ?)", (value(rng), number))
        elif roll < 0.8:
            connection.execute("UPDATE keyless SET v = ? WHERE w = ?", (value(rng), number))
        else:
            connection.execute("DELETE FROM keyless WHERE w % 15 = ?", (number % 15,))
    elif table == "uniq":
        if roll < 0.6:
            connection.execute(verb + " INTO uniq(u, v, w) VALUES (?, ?, ?)", ("U%d" % (number % 12) if roll < 0.3 else "u%d" % (number % 12), other % 5, value(rng)))
        elif roll < 0.85:
            connection.execute("UPDATE OR REPLACE uniq SET u = ? WHERE id % 9 = ?", ("u%d" % (number % 12), other % 9))
        else:
            connection.execute("DELETE FROM uniq WHERE v = ?", (other % 5,))
    elif table == "parent":
        if roll < 0.6:
            connection.execute(verb + " INTO parent VALUES (?, ?)", (number % 10, value(rng)))
        elif roll < 0.8:
            connection.execute("UPDATE OR IGNORE parent SET id = ? WHERE id = ?", (other % 10, number % 10))
        else:
            connection.execute("DELETE FROM parent WHERE id = ?", (number % 10,))
    else:
        if roll < 0.8:
            connection.execute(verb + " INTO child(id, parent) VALUES (?, ?)", (number, other % 10))
        else:
            connection.execute("DELETE FROM child WHERE id = ?", (number,))


# Most columns of a table, and most tables that are made: what grows without end is another test.
MOST = 20


def define(connection, rng, mark):
    roll = rng.randrange(5)
    name = "made_%s" % mark
    names = columns(connection, "plain")
    made = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'made%'")]
    if roll == 0 and len(names) < MOST:
        connection.execute("ALTER TABLE plain ADD COLUMN extra_%s DEFAULT 7" % mark)
        connection.execute("UPDATE plain SET extra_%s = ? WHERE id %% 3 = 0" % mark, (value(rng),))
    elif roll <= 1:
        connection.execute('ALTER TABLE plain RENAME COLUMN "%s" TO renamed_%s' % (names[-1], mark))
    elif roll == 2 and len(made) < MOST:
        connection.execute("CREATE TABLE %s(id INTEGER PRIMARY KEY, v)" % name)
        connection.execute("INSERT INTO %s(v) VALUES (1), (2), (3)" % name)
        connection.execute("UPDATE %s SET v = 9 WHERE id = 2" % name)
    elif roll == 3:
        # The way of tools that migrate: a new table takes the old one's place.
        connection.execute("CREATE TABLE new_keyless(v, w)")
        connection.execute("INSERT INTO new_keyless SELECT v, w FROM keyless WHERE w % 2 = 0")
        connection.execute("DROP TABLE keyless")
        connection.execute("ALTER TABLE new_keyless RENAME TO keyless")
    elif made and rng.random() < 0.5:
        connection.execute("DROP TABLE %s" % rng.choice(made))
    elif made:
        connection.execute("ALTER TABLE %s RENAME TO made_again_%s" % (rng.choice(made), mark))


def turns(count, seconds):
    if seconds == 0:
        yield from range(count)
        return
    end = time.monotonic() + seconds
    for turn in itertools.count():
        if time.monotonic() > end:
            return
        yield turn
        time.sleep(0.01)


def write(path, seed, count, has_ddl, seconds):
    rng = random.Random(seed)
    connection = connect(path)
    for turn in turns(count, seconds):
        end = rng.choice(["COMMIT", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])
        try:
            if has_ddl and turn % 25 == 24:
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute("BEGIN IMMEDIATE")
                define(connection, rng, "%d_%d" % (seed, turn))
                connection.execute("COMMIT")
                connection.execute("PRAGMA foreign_keys = ON")
                continue
            connection.execute("PRAGMA recursive_triggers = %d" % rng.randrange(2))
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(rng.randrange(1, 6)):
                try:
                    change(connection, rng)
                except sqlite3.IntegrityError:
                    pass
            connection.execute(end)
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if "no such column" not in str(error) and "has no column" not in str(error):
                raise
    print("done", flush=True)


def paced(path, count, pause_ms, synchronous="NORMAL"):
    connection = connect(path)
    connection.execute("PRAGMA synchronous = %s" % synchronous)
    for number in range(count):
        before = time.monotonic_ns()
        connection.execute("INSERT INTO paced(v) VALUES (?)", (number,))
        print(before, time.monotonic_ns(), flush=True)
        if pause_ms > 0:
            time.sleep(pause_ms / 1000)


mode, path, *rest = sys.argv[1:]
if mode == "serve":
    serve(path)
elif mode == "random":
    write(path, int(rest[0]), int(rest[1]), rest[2] == "1", float(rest[3]))
else:
    paced(path, int(rest[0]), float(rest[1]), *rest[2:])
