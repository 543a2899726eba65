#!/usr/bin/env bash
# redis-py since 6.0 sends an INCR again when its answer is lost, and a whole MULTI/EXEC as well; 5.3.1 does not.
#
# Guess:    a client repeats what it knows to be unsent, and leaves it to the caller when a command that is not
#           idempotent may have run: redis-py did so up to 5.3.1, and the default `retry_on_timeout=False` seems to
#           say so still.
# Seen:     with nothing configured, one incr() whose first answer is lost counts twice and returns 2 without an
#           error; a transaction of two increments counts both twice; with a socket timeout, a server that is busy for
#           a second counts the call more than once. The same program under 5.3.1 raises, and each has counted once.
# Counting: the upgrade of a library turns "unknown, perhaps once" into "done", counted several times (up to eleven
#           with 8.1.0, four with 6.x, if every answer is lost). Whoever compares a counter in Redis with other totals
#           needs `retry=Retry(NoBackoff(), 0)`, which is tried here too ("careful").
# Versions: redis 5.3.1 and 8.1.0 of PyPI, redis-server 5:7.0.15-1~deb12u10, Python 3.11.
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

if ! command -v redis-server >/dev/null || ! python3 -c 'import ensurepip'; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends redis-server python3-venv >/dev/null
fi
python3 -m venv "$folder/venv"
for version in 5.3.1 8.1.0; do
    "$folder/venv/bin/pip" install -q --disable-pip-version-check --no-compile \
        --target "$folder/$version" "redis==$version"
done
redis-server --version

redis-server --port 0 --unixsocket "$folder/redis" --save '' --enable-debug-command local --dir "$folder" \
    >"$folder/log" &
server=$!
for _ in $(seq 100); do
    [ "$(redis-cli -s "$folder/redis" ping 2>/dev/null)" = PONG ] && break
    sleep 0.1
done

cat >"$folder/count.py" <<'PYTHON'
import socket
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

direct, between = sys.argv[1:]
to_be_lost = 0


def serve(client):
    """Hands everything on, except the next answer to an increment that is to be lost."""
    global to_be_lost
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(direct)
    while request := client.recv(65536):
        upstream.sendall(request)
        answer = upstream.recv(65536)
        if b"INCR" in request and to_be_lost > 0:
            to_be_lost -= 1
            break
        client.sendall(answer)
    client.close()


def listen():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.socket(socket.AF_UNIX)
listener.bind(between)
listener.listen()
threading.Thread(target=listen, daemon=True).start()
server = redis.Redis(unix_socket_path=direct)

for what in ("single", "transaction", "careful", "slow"):
    server.flushall()
    options = {"slow": {"socket_timeout": 0.3}, "careful": {"retry": Retry(NoBackoff(), 0)}}
    client = redis.Redis(unix_socket_path=direct if what == "slow" else between, **options.get(what, {}))
    client.ping()
    to_be_lost = 1
    busy = threading.Thread(target=server.execute_command, args=("DEBUG", "SLEEP", "1"))
    if what == "slow":
        busy.start()
        time.sleep(0.1)
    try:
        if what == "transaction":
            with client.pipeline(transaction=True) as both:
                answer = both.incr("a").incr("b").execute()
        else:
            answer = client.incr("a")
    except redis.RedisError as error:
        answer = type(error).__name__
    if what == "slow":
        busy.join()
    counted = [int(server.get(key) or 0) for key in "ab"]
    print(f"{redis.__version__} {what}: said {answer}, counted {counted}")
PYTHON

for version in 5.3.1 8.1.0; do
    PYTHONPATH=$folder/$version "$folder/venv/bin/python" "$folder/count.py" "$folder/redis" "$folder/between.$version"
done | tee "$folder/seen"

expect() { grep -qE "^$1\$" "$folder/seen" || changed "expected: $1"; }
expect '5.3.1 single: said ConnectionError, counted \[1, 0\]'
expect '5.3.1 transaction: said ConnectionError, counted \[1, 1\]'
expect '8.1.0 single: said 2, counted \[2, 0\]'
expect '8.1.0 transaction: said \[2, 2\], counted \[2, 2\]'
expect '8.1.0 careful: said ConnectionError, counted \[1, 0\]'
expect '5.3.1 slow: said TimeoutError, counted \[1, 0\]'
expect '8.1.0 slow: said ([2-9]|10|11), counted \[([2-9]|10|11), 0\]'
echo "as known: 8.1.0 counts a lost answer twice and says nothing"
