"""Writes to a small shop in a SQLite file: `python3 sqlite.py FILE TABLE`.

Says "ready" when the table is there, begins with a line of input, goes on until the input ends, and then prints the table.
"""

import json
import random
import sqlite3
import sys
import threading
import time

PRODUCTS = ["tea", "coffee", "cocoa", "maté", "chai"]


def main():
    file, table = sys.argv[1:]
    shop = sqlite3.connect(file, timeout=10, isolation_level=None)
    shop.execute("PRAGMA journal_mode = WAL")
    shop.execute(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, product TEXT, pieces INTEGER, price REAL, at REAL)"
    )
    print("ready", flush=True)
    sys.stdin.readline()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(0.02):
        shop.execute("BEGIN IMMEDIATE")
        for _ in range(random.randint(1, 3)):
            write(shop, table)
        shop.execute("COMMIT")
    names = ["id", "product", "pieces", "price", "at"]
    rows = [dict(zip(names, row)) for row in shop.execute(f"SELECT * FROM {table}")]
    print(json.dumps(rows), flush=True)


def write(shop, table):
    now, roll = time.time() * 1000, random.random()
    if roll < 0.4:
        row = (random.choice(PRODUCTS), random.randrange(100), random.randrange(1000) / 100, now)
        shop.execute(f"INSERT INTO {table} (product, pieces, price, at) VALUES (?, ?, ?, ?)", row)
        return
    chosen = f"(SELECT id FROM {table} ORDER BY random() LIMIT 1)"
    if roll < 0.9:
        shop.execute(f"UPDATE {table} SET pieces = pieces + 1, at = ? WHERE id = {chosen}", (now,))
    else:
        shop.execute(f"DELETE FROM {table} WHERE id = {chosen}")


main()
