#!/usr/bin/env bash
# A STRICT table of SQLite takes a generated column of the wrong type, and integrity_check then finds fault with it.
#
# Guess:    STRICT means that a column declared INTEGER holds integers: a STORED and a VIRTUAL generated column whose
#           expression gives a fraction are both refused at the INSERT, as a plain column is.
# Seen:     STORED refuses ("cannot store REAL value in INTEGER column"), VIRTUAL does not: the INSERT succeeds,
#           SELECT gives 1.5 from an INTEGER column, and from then on integrity_check and quick_check say "non-INTEGER
#           value", as they would about broken pages. The copy that VACUUM INTO makes has the same finding. Nothing in
#           the file is wrong; DROP COLUMN ends it.
# Counting: a derived column such as value / 2.0, which somebody adds to a table of counts for a report, turns every
#           check of the file red, and a routine that restores a backup when quick_check complains throws good counts
#           away.
# Versions: sqlite3 3.40.1-2+deb12u2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if [ ! -x /usr/bin/sqlite3 ]; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends sqlite3 >/dev/null
fi
dpkg-query -W sqlite3 libsqlite3-0

# tell FILE SQL: what comes of it, errors included, in one line.
tell() {
    local said
    said=$(/usr/bin/sqlite3 "$folder/$1" "$2" 2>&1) || true
    echo "${said//$'\n'/ }" | tee -a "$folder/seen"
}
half() { echo "CREATE TABLE counters (key TEXT PRIMARY KEY, value INTEGER, half INTEGER $1) STRICT"; }

tell plain "$(half ''); INSERT INTO counters VALUES ('a', 3, 1.5)"
tell stored "$(half 'AS (value / 2.0) STORED'); INSERT INTO counters (key, value) VALUES ('a', 3)"
tell virtual "$(half 'AS (value / 2.0) VIRTUAL'); INSERT INTO counters (key, value) VALUES ('a', 3), ('b', 4)"
tell virtual "SELECT key, value, half, typeof(half) FROM counters"
tell virtual "PRAGMA integrity_check; PRAGMA quick_check"
tell virtual "VACUUM INTO '$folder/copy'"
tell copy "PRAGMA quick_check"
tell virtual "ALTER TABLE counters DROP COLUMN half; PRAGMA integrity_check"

expect() { sed -n "$1p" "$folder/seen" | grep -qF "$2" || changed "line $1, expected: $2"; }
expect 1 'cannot store REAL value in INTEGER column counters.half'
expect 2 'cannot store REAL value in INTEGER column counters.half'
[ -z "$(sed -n 3p "$folder/seen" | tr -d ' ')" ] || changed "a VIRTUAL column refuses the row"
expect 4 'a|3|1.5|real b|4|2|integer'
expect 5 'non-INTEGER value in counters.half non-INTEGER value in counters.half'
expect 7 'non-INTEGER value in counters.half'
expect 8 'ok'
echo "as known: a row that STRICT took is damage to quick_check"
