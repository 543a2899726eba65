#!/usr/bin/env bash
# sqldiff says nothing about keys that differ, and its own output does not make two files equal.
#
# Guess:    sqldiff is diff for SQLite: empty output and exit code 0 for equal content, exit code 1 otherwise, and a
#           file that has been given its output equals the other one.
# Seen:     it ends with 0 in either case. It compares as SQL does: under COLLATE NOCASE `Home` and `home` are no
#           difference, nor are 1 and 1.0. A sum such as 0.1 + 0.2 is written with 15 digits, so the output changes
#           the row to 0.3, and the next sqldiff finds the same difference and prints the same line, for ever.
# Counting: "sqldiff prints nothing" is no proof that a copy, a restore or an export and import kept every key and
#           type, a script that tests its exit code proves nothing at all, and a loop "until equal" does not end.
# Versions: sqlite3-tools and sqlite3 3.40.1-2+deb12u2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v sqldiff >/dev/null || [ ! -x /usr/bin/sqlite3 ]; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends sqlite3 sqlite3-tools >/dev/null
fi
sql() { /usr/bin/sqlite3 "$folder/$1" "$2"; }
dpkg-query -W sqlite3-tools sqlite3

# compare COLUMNS ROW OTHER: two files with one row each; sets difference to what sqldiff prints and how it ends.
compare() {
    local status=0
    rm -f "$folder"/one "$folder"/other
    sql one "CREATE TABLE counters ($1); INSERT INTO counters VALUES ($2)"
    sql other "CREATE TABLE counters ($1); INSERT INTO counters VALUES ($3)"
    difference=$(sqldiff --primarykey "$folder/one" "$folder/other") || status=$?
    difference="exit $status: $difference"
    echo "$2 and $3: $difference"
}
compare 'key TEXT PRIMARY KEY COLLATE NOCASE, value INTEGER' "'Home', 1" "'home', 1"
[ "$difference" = "exit 0: " ] || changed "Home and home"
compare 'key TEXT PRIMARY KEY, value' "'a', 1" "'a', 1.0"
[ "$difference" = "exit 0: " ] || changed "1 and 1.0"
compare 'key TEXT PRIMARY KEY, value INTEGER' "'a', 1" "'a', 2"
[ "$difference" = "exit 0: UPDATE counters SET value=2 WHERE \"key\"='a';" ] || changed "1 and 2"

compare 'key TEXT PRIMARY KEY, value' "'a', 0.5" "'a', 0.1 + 0.2"
for round in 1 2 3; do
    sqldiff --primarykey "$folder/one" "$folder/other" >"$folder/script"
    sql one ".read $folder/script"
    echo "round $round: $(cat "$folder/script")"
    [ "$(cat "$folder/script")" = "UPDATE counters SET value=0.3 WHERE \"key\"='a';" ] || changed "round $round"
done
echo "as known: sqldiff overlooks keys, and never arrives"
