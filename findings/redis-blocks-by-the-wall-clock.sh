#!/usr/bin/env bash
# The timeout of BLMOVE is a time of day: a clock that is set back by a minute makes a wait of three seconds last a
# minute.
#
# Guess:    Redis 7 names its monotonic clock in the log at every start; timeouts of blocked clients use it.
# Seen:     a client that blocks waits for a time of day. Set back by 60 s, a BLMOVE of 3 s is not answered in 10 s
#           (it is due a minute later). Set forward by 120 s, one of 100 s is answered at once. A push wakes it all
#           the same.
# Counting: a consumer that renews a lease, sends a heartbeat or looks for its stop signal "every second, when BLMOVE
#           comes back empty" does none of it for as long as the step was, with nothing wrong in Redis, network or
#           consumer. It needs a limit of its own.
# Versions: redis-server 5:7.0.15-1~deb12u10. The clock of the machine stays alone: a small library that is loaded
#           before libc moves gettimeofday for this one server.
set -euo pipefail

folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" || true
    wait
    rm -rf "$folder"
}
trap finish EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v redis-server >/dev/null || ! command -v gcc >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends redis-server gcc libc6-dev >/dev/null
fi
redis-server --version

cat >"$folder/clock.c" <<'C'
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* Adds the seconds that stand in the first byte of a file, as a signed number. */
int gettimeofday(struct timeval *now, void *zone) {
    static volatile signed char *seconds;
    if (!seconds) {
        int file = open(getenv("CLOCK_STEP"), O_RDONLY);
        seconds = mmap(0, 1, PROT_READ, MAP_SHARED, file, 0);
        close(file);
    }
    int result = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += *seconds;
    return result;
}
C
gcc -shared -fPIC -O2 -w -o "$folder/clock.so" "$folder/clock.c"
# step BYTE: writes in place, for the server has the file mapped.
step() { printf '%b' "$1" | dd of="$folder/step" conv=notrunc status=none; }
step '\x00'
CLOCK_STEP=$folder/step LD_PRELOAD=$folder/clock.so redis-server --port 0 --unixsocket "$folder/socket" \
    --save '' --dir "$folder" --loglevel warning >"$folder/log" &
server=$!
cli() { redis-cli -s "$folder/socket" "$@"; }
for _ in $(seq 100); do
    [ "$(cli ping 2>/dev/null)" = PONG ] && break
    sleep 0.1
done

# blocked SECONDS STEP LIMIT [ELEMENT]: how a BLMOVE of SECONDS ends if the clock is stepped while it waits, and ELEMENT
# pushed then: what it said, or "nothing" if it had said nothing after LIMIT seconds of the machine's own clock.
blocked() {
    local client before=$SECONDS status=0
    timeout "$3" redis-cli -s "$folder/socket" --no-raw blmove from to LEFT RIGHT "$1" >"$folder/answer" &
    client=$!
    until cli info clients | grep -q '^blocked_clients:1'; do sleep 0.05; done
    step "$2"
    [ -z "${4-}" ] || cli rpush from "$4" >/dev/null
    wait "$client" || status=$?
    [ "$status" != 124 ] || echo nothing >"$folder/answer"
    until cli info clients | grep -q '^blocked_clients:0'; do sleep 0.05; done
    step '\x00'
    echo "BLMOVE of $1 s: $(cat "$folder/answer") after $((SECONDS - before)) s"
}
expect() { [ "$(cat "$folder/answer")" = "$1" ] || changed "$2"; }
blocked 3 '\x00' 15
expect '(nil)' "a BLMOVE whose clock is left alone"
echo "clock set back by 60 s:"
blocked 3 '\xc4' 10
expect nothing "a clock that is set back does not prolong it"
blocked 3 '\xc4' 10 pushed
expect '"pushed"' "a push does not wake it"
echo "clock set forward by 120 s:"
blocked 100 '\x78' 15
expect '(nil)' "a clock that is set forward does not end it"
echo "as known: the timeout follows the clock on the wall"
