#!/usr/bin/env bash
# math.random() in a Redis function gives the same numbers after every start of every server.
#
# Guess:    Redis 7 replicates effects, so scripts need not be repeatable any more, and random numbers are random; or,
#           as in earlier versions, each call begins the same sequence anew, which one would notice in the first test.
# Seen:     numbers go on from call to call, which looks random in a test, but nobody seeds the generator: two servers
#           that never met, and one server before and after a restart, give the same sequence, to functions and EVAL
#           alike. Each call of any script moves it on for all others.
# Counting: a token, an idempotency key or a sample that is drawn inside a function comes again after the next
#           restart, at the very moment when it must tell the old holder from the new one. Hand the random bytes in.
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

# start NAME: a server with its folder and socket, its functions kept over a restart.
start() {
    mkdir -p "$folder/$1"
    redis-server --port 0 --unixsocket "$folder/$1/socket" --dir "$folder/$1" --appendonly yes \
        --loglevel warning >>"$folder/$1/log" &
    servers+=($!)
    for _ in $(seq 100); do
        [ "$(redis-cli -s "$folder/$1/socket" ping 2>/dev/null)" = PONG ] && return
        sleep 0.1
    done
    changed "Redis does not start"
}
draw() { redis-cli -s "$folder/$1/socket" fcall draw 0; }
load() {
    redis-cli -s "$folder/$1/socket" function load "#!lua name=tokens
        redis.register_function('draw', function() return tostring(math.random(1000000000)) end)" >/dev/null
}

start one
load one
first=$(draw one) second=$(draw one)
redis-cli -s "$folder/one/socket" eval 'return math.random(1000000000)' 0 >/dev/null
fourth=$(draw one)
kill "${servers[0]}"
wait "${servers[0]}" || true
servers=()
start one
again=$(draw one)

start other
load other
other=()
for _ in 1 2 3 4; do other+=("$(draw other)"); done

echo "one server:      $first $second (one by EVAL) $fourth"
echo "restarted:       $again"
echo "another server:  ${other[*]}"
[ "$first" != "$second" ] || changed "each call begins the sequence anew"
[ "$first" = "$again" ] || changed "a restart gives other numbers"
[ "$first $second" = "${other[*]:0:2}" ] || changed "another server gives other numbers"
[ "$fourth" = "${other[3]}" ] || changed "an EVAL does not move the sequence on by one"
echo "as known: a new server draws what the old one drew"
