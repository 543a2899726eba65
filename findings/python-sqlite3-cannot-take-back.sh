#!/usr/bin/env bash
# Python's sqlite3 opens no transaction for an UPSERT that begins with WITH: rollback() cannot take the counts back.
#
# Guess:    under the default isolation_level a change of rows begins a transaction, and rollback() undoes it.
# Seen:     the module looks at the first word of the statement. INSERT, UPDATE, DELETE and REPLACE begin a
#           transaction, WITH does not: `WITH batch(...) AS (...) INSERT ... ON CONFLICT DO UPDATE` is committed by
#           itself at once, in `with connection:` as well, where the exception that follows should undo it. rowcount
#           is -1. The same statement is undone if anything else opened a transaction before it, so it depends on what
#           came earlier.
# Counting: "add the batch, then write down that it was added" in one transaction is what makes counts exact. Here the
#           first half stays when the second fails, and the repeat counts the batch twice. Say BEGIN, always.
# Versions: Python 3.11.2-6+deb12u6 and 3.11.7, SQLite 3.40.1.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v python3 >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 >/dev/null
fi

cat >"$folder/count.py" <<'PYTHON'
import sqlite3
import sys

UPSERT = "ON CONFLICT (key) DO UPDATE SET value = value + excluded.value"
PLAIN = f"INSERT INTO counters VALUES ('a', 5) {UPSERT}"
BATCH = f"""WITH batch (key, value) AS (VALUES ('a', 5))
    INSERT INTO counters SELECT key, value FROM batch WHERE true {UPSERT}"""


def twice(statement, marked_first):
    """Adds 5 and fails before the batch is marked as added; then adds it again and succeeds."""
    db = sqlite3.connect(":memory:")
    db.executescript("CREATE TABLE counters (key TEXT PRIMARY KEY, value INTEGER); CREATE TABLE added (batch INTEGER)")
    for fails in (True, False):
        try:
            with db:
                if marked_first:
                    db.execute("INSERT INTO added VALUES (1)")
                rows = db.execute(statement).rowcount
                if fails:
                    raise RuntimeError
                if not marked_first:
                    db.execute("INSERT INTO added VALUES (1)")
        except RuntimeError:
            pass
    total, = db.execute("SELECT value FROM counters").fetchone()
    batches, = db.execute("SELECT count(*) FROM added").fetchone()
    return f"total {total}, batches {batches}, rowcount {rows}"


print("Python", sys.version.split()[0], "SQLite", sqlite3.sqlite_version)
print("INSERT:              ", twice(PLAIN, False))
print("WITH:                ", twice(BATCH, False))
print("WITH behind an INSERT:", twice(BATCH, True))
PYTHON
python3 "$folder/count.py" | tee "$folder/seen"

expect() { grep -qx "$1" "$folder/seen" || changed "expected: $1"; }
expect 'INSERT: *total 5, batches 1, rowcount 1'
expect 'WITH: *total 10, batches 1, rowcount -1'
expect 'WITH behind an INSERT: total 5, batches 1, rowcount -1'
echo "as known: a batch that was rolled back is counted"
