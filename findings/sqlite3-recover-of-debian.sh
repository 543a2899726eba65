#!/usr/bin/env bash
# `.recover` of Debian 12's sqlite3 recovers no database at all, not even a sound one.
#
# Guess:    the shell documents `.recover` as the way to save what can be read of a corrupt file, offers it in .help,
#           and so it is what one plans for. On a sound file it is a slower .dump.
# Seen:     it ends with 1 and "sql error: SQL logic error (1)" behind seven lines that make no table. The command
#           reads pages through the virtual table sqlite_dbpage, which is part of the library; Debian links the shell
#           with its libsqlite3, which is built without it. In the usual pipe, `sqlite3 broken .recover | sqlite3
#           saved`, the exit code of the first is not seen: `saved` is an empty file, and the pipe ends with 0.
#           `.dump` works.
# Counting: the plan for a damaged file of counts fails on the day when it is needed, and a script that tests only the
#           pipe goes on with a file without tables. Rehearse with the shell of that host, or keep backups.
# Versions: sqlite3 and libsqlite3-0 3.40.1-2+deb12u2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if [ ! -x /usr/bin/sqlite3 ]; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends sqlite3 >/dev/null
fi
sqlite3() { /usr/bin/sqlite3 "$@"; }
dpkg-query -W sqlite3 libsqlite3-0
sqlite3 "$folder/sound" 'CREATE TABLE counters (key TEXT PRIMARY KEY, value INTEGER);
    INSERT INTO counters VALUES (char(97), 1), (char(98), 2);'
sqlite3 "$folder/sound" 'PRAGMA integrity_check'

echo "what .help says:"
sqlite3 "$folder/sound" '.help recover' | head -n 1
status=0
sqlite3 "$folder/sound" .recover >"$folder/recovered" 2>"$folder/said" || status=$?
echo ".recover: exit $status, $(cat "$folder/said")"
cat "$folder/recovered"

[ "$status" = 1 ] || changed ".recover ends with $status"
grep -q 'SQL logic error' "$folder/said" || changed "what .recover says"
! grep -q counters "$folder/recovered" || changed ".recover names the table"
! sqlite3 "$folder/sound" 'SELECT count(*) FROM sqlite_dbpage' 2>"$folder/why" || changed "sqlite_dbpage is there"
cat "$folder/why"

status=0
(set +o pipefail; sqlite3 "$folder/sound" .recover 2>/dev/null | sqlite3 "$folder/saved") || status=$?
tables=$(sqlite3 "$folder/saved" 'SELECT count(*) FROM sqlite_schema')
echo "in a pipe: exit $status, tables in what was saved: $tables"
[ "$status $tables" = '0 0' ] || changed "the pipe"

sqlite3 "$folder/sound" .dump | sqlite3 "$folder/dumped"
[ "$(sqlite3 "$folder/dumped" 'SELECT sum(value) FROM counters')" = 3 ] || changed ".dump"
echo "as known: .recover saves nothing, .dump of the same file is whole"
