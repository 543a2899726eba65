#!/usr/bin/env bash
# Tokyo Cabinet's addint adds 1 to the text "1234" and makes "2234" of it; its counters are 32 bits wide and wrap.
#
# Guess:    a database with an "add an integer" call keeps the number as text or as 64 bits, refuses a record that is
#           no number, and at the end of its range refuses or says so.
# Seen:     the record is a C int in the byte order of the machine. Any record of exactly four bytes is taken for one:
#           the text "1234" is 875770417, plus one has the bytes "2234", and success is what is said. Texts of other
#           lengths are refused as "existing record", so a store of counts written as text refuses to add to 5 and to
#           12345, and garbles 1234. From 2147483647, adding 1 gives -2147483648, stored; the tool ends with 1 and
#           prints "0: success". Adding 4294967297 adds 1.
# Counting: whoever takes counts over from such a file must know which records were put and which were added to, for
#           the file does not say; and what was above 2^31 - 1 is gone.
# Versions: tokyocabinet-bin 1.4.48-15, on a little-endian machine (amd64, arm64).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v tchmgr >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends tokyocabinet-bin >/dev/null
fi
dpkg-query -W tokyocabinet-bin
tchmgr create "$folder/counts"

# put TEXT and ADD... to a key of its own: what the tool says to each, how it ends, and what is stored.
try() {
    local key=$1 text=$2 number said status
    shift 2
    [ -z "$text" ] || tchmgr put "$folder/counts" "$key" "$text"
    for number in "$@"; do
        status=0
        said=$(tchmgr put -dai "$folder/counts" "$key" "$number" 2>&1) || status=$?
        said=${said//"$folder/"/}
        echo "$key + $number: exit $status, ${said//$'\n'/ }"
    done
    echo "$key is $(tchmgr get -px "$folder/counts" "$key")"
}
{
    try put1 5 1
    try put4 1234 1
    try put5 12345 1
    try top '' 2147483647 1 5
    try wide '' 4294967297 1
} | tee "$folder/seen"

expect() { grep -qE "^$1\$" "$folder/seen" || changed "expected: $1"; }
expect 'put4 \+ 1: exit 0, 875770418'
expect 'put4 is 32 32 33 34 *'
expect 'put1 \+ 1: exit 1, .*21: existing record'
expect 'put5 \+ 1: exit 1, .*21: existing record'
expect 'top \+ 2147483647: exit 0, 2147483647'
expect 'top \+ 1: exit 1, .*0: success'
expect 'top \+ 5: exit 0, -2147483643'
expect 'wide is 02 00 00 00 *'
echo "as known: 1234 and 1 make 2234"
