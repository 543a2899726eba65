#!/usr/bin/env bash
# A local variable of a Redis function library keeps its value from call to call, and nothing else knows of it.
#
# Guess:    as with EVAL, each call begins from nothing: globals are refused, and what is local ends with the call.
#           Who thinks of the library as loaded once expects at least that a call that fails leaves no trace.
# Seen:     `local n = 0` beside register_function is a variable of the server: it counts on from call to call, keeps
#           what a failed call and an FCALL_RO of a no-writes function did to it, and outlives FLUSHALL, but is in no
#           file. FUNCTION LOAD REPLACE and a restart set it back to 0 without a word, while the keys say otherwise.
# Counting: a number that such a variable numbers batches with, or a cache that it holds, is right in every test and
#           comes again after the next upgrade of the library. State belongs into keys.
# Versions: redis-server 5:7.0.15-1~deb12u10.
set -euo pipefail

folder=$(mktemp -d)
servers=()
finish() {
    [ ${#servers[@]} -eq 0 ] || kill "${servers[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap finish EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v redis-server >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends redis-server >/dev/null
fi
redis-server --version

start() {
    redis-server --port 0 --unixsocket "$folder/socket" --dir "$folder" --appendonly yes --loglevel warning \
        >>"$folder/log" &
    servers=($!)
    for _ in $(seq 100); do
        [ "$(cli ping 2>/dev/null)" = PONG ] && return
        sleep 0.1
    done
    changed "Redis does not start"
}
cli() { redis-cli -s "$folder/socket" "$@"; }
library="#!lua name=numbers
local n = 0
redis.register_function('nextNumber', function(keys) n = n + 1 redis.call('SET', keys[1], n) return n end)
redis.register_function('failing', function() n = n + 1 error('no') end)
redis.register_function{function_name='looking', callback=function() n = n + 1 return n end, flags={'no-writes'}}"
seen=()
# number WHEN: takes the next number, and writes it down.
number() {
    local value
    value=$(cli fcall nextNumber 1 number)
    printf '%-34s %s\n' "$1" "$value"
    seen+=("$value")
}

start
cli function load "$library" >/dev/null
number "first call"
number "second call, another connection"
cli fcall failing 0 >/dev/null
number "after a call that failed"
cli fcall_ro looking 0 >/dev/null
number "after FCALL_RO of no-writes"
cli flushall >/dev/null
number "after FLUSHALL"
cli function load replace "$library" >/dev/null
number "after FUNCTION LOAD REPLACE"
number "next"
kill "${servers[0]}"
wait "${servers[0]}" || true
start
echo "the key, after a restart:          $(cli get number)"
number "after the restart"

[ "${seen[*]}" = '1 2 4 6 7 1 2 1' ] || changed "numbers: ${seen[*]}"
echo "as known: the library remembers until somebody replaces it"
