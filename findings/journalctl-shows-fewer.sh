#!/usr/bin/env bash
# journalctl over two files shows fewer entries than the two have: equal lines of different files count once.
#
# Guess:    journalctl merges files by time, as sort -m does; five lines in two files are five lines. If it left out
#           what is equal, it would do so within one file as well.
# Seen:     of three entries in one file and two in another, all alike (time, boot and fields), three are shown,
#           forwards and backwards, with --file twice and with -D. The same five in one file are five. Files that
#           differ in a single field, here the worker, show five.
# Counting: whoever brings access logs with stamps of whole seconds into journals, a file a worker, and counts hits
#           with `journalctl | wc -l` gets a number that depends on how the lines were spread over files. A field that
#           tells the writers apart is needed.
# Versions: systemd and systemd-journal-remote 252.39-1~deb12u2; nothing is booted, no journal of the machine is read.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }
remote=/lib/systemd/systemd-journal-remote

if [ ! -x "$remote" ] || ! command -v journalctl >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends systemd systemd-journal-remote >/dev/null
fi
dpkg-query -W systemd systemd-journal-remote

# journal FILE COUNT [FIELD]: a journal with COUNT equal entries.
journal() {
    local entry
    mkdir -p "$folder/${1%/*}"
    for _ in $(seq "$2"); do
        printf '%s=%s\n' __REALTIME_TIMESTAMP 1700000000000000 __MONOTONIC_TIMESTAMP 1000000 \
            _BOOT_ID 0123456789abcdef0123456789abcdef MESSAGE 'GET /home'
        for entry in "${@:3}"; do echo "$entry"; done
        echo
    done >"$folder/entries"
    "$remote" -o "$folder/$1.journal" "$folder/entries" 2>/dev/null
}
journal apart/one 3
journal apart/other 2
journal together/all 5
journal named/one 3 WORKER=1
journal named/other 2 WORKER=2

shown() { journalctl -q -o cat "$@" | wc -l; }
one=$(shown --file "$folder/apart/one.journal")
other=$(shown --file "$folder/apart/other.journal")
both=$(shown --file "$folder/apart/one.journal" --file "$folder/apart/other.journal")
apart="$(shown -D "$folder/apart") $(shown -r -D "$folder/apart")"
together=$(shown -D "$folder/together")
named=$(shown -D "$folder/named")
echo "one file: $one, another: $other, both: $both, as a folder, forwards and backwards: $apart"
echo "the same five in one file: $together"
echo "two files that name their worker: $named"
[ "$one $other $both $apart" = '3 2 3 3 3' ] || changed "equal entries of two files"
[ "$together" = 5 ] || changed "equal entries of one file"
[ "$named" = 5 ] || changed "entries that differ in a field"
echo "as known: three and two are three"
