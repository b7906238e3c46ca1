# Writes to the table of `benchmark/snapshot.js`, or reads it, with Python's SQLite.
#
# `sqlite.py write FILE RATE IDS DELETES`: single-row commits at a pace until stdin ends; prints how many, and in how many seconds.
# `sqlite.py select FILE`: reads all rows; prints how many, the seconds, and the memory at the start and at most in MB.

import random
import resource
import sqlite3
import sys
import threading
import time


def write(path, rate, ids, deletes):
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    written, began = 0, time.monotonic()
    while not ended.is_set():
        if written >= (time.monotonic() - began) * rate:
            time.sleep(0.001)
            continue
        written += 1
        number = random.randrange(ids)
        if written % deletes == 0:
            connection.execute("DELETE FROM t WHERE id = ?", (number,))
        else:
            text = "written %d" % random.randrange(1000000)
            connection.execute("INSERT INTO t VALUES (?, 1, ?, NULL) ON CONFLICT(id) DO UPDATE SET v = v + 1, a = excluded.a", (number, text))
    print(written, time.monotonic() - began, flush=True)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def select(path):
    connection = sqlite3.connect(path, timeout=30)
    at_start, began = peak(), time.monotonic()
    rows = len(connection.execute("SELECT * FROM t").fetchall())
    print(rows, time.monotonic() - began, at_start, peak(), flush=True)


mode, path, *rest = sys.argv[1:]
if mode == "write":
    write(path, *map(int, rest))
else:
    select(path)
