#!/usr/bin/env bash
# curl --retry with an upload from standard input sends an empty body the second time, and ends with 0.
#
# Guess:    a body that was read from a pipe cannot be read again, so curl either keeps it, as it does with
#           --data-binary @-, or refuses the retry.
# Seen:     `-T -` sends the lines, gets 503, waits, and then sends the same request with a body of no bytes. The
#           server answers 200 to that, curl ends with 0 and prints nothing. It is so even if standard input is a
#           file, which could be rewound.
# Counting: lines of increments are what one pipes into `curl -T -`, because it streams. A server that takes an empty
#           list for a valid one says 200 to a retry that counts nothing, and the sender has seen a success. An empty
#           body is better refused.
# Versions: curl 7.88.1-10+deb12u15, Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" || true
    rm -rf "$folder"
}
trap finish EXIT
changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v curl >/dev/null || ! command -v python3 >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends curl python3 >/dev/null
fi
curl --version | head -n 1
python3 --version

# Answers 503 to the first request of a path and 200 to the second, and writes down what bodies came.
cat >"$folder/server.py" <<'PYTHON'
import http.server
import sys

seen = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        whole = b""
        while True:
            size = int(self.rfile.readline(), 16)
            whole += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return whole

    def do_POST(self):
        body = self.body()
        bodies = seen.setdefault(self.path, [])
        status = 200 if bodies else 503
        bodies.append(body)
        with open(sys.argv[1], "a") as log:
            print(self.path, status, body, file=log)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[2], "w") as file:
    print(server.server_port, file=file)
server.serve_forever()
PYTHON
python3 "$folder/server.py" "$folder/log" "$folder/port" &
server=$!
for _ in $(seq 100); do
    [ -s "$folder/port" ] && break
    sleep 0.1
done
url=http://127.0.0.1:$(cat "$folder/port")
printf 'home 1\nabout 2\n' >"$folder/lines"
again=(curl -sS --max-time 10 --retry 1 --retry-delay 1)

try() {
    local status=0
    "$@" || status=$?
    echo "exit $status" >>"$folder/log"
}
try "${again[@]}" -X POST -T - "$url/pipe" < <(cat "$folder/lines")
try "${again[@]}" -X POST -T - "$url/file" <"$folder/lines"
try "${again[@]}" --data-binary @- "$url/data" < <(cat "$folder/lines")

cat "$folder/log"
cat >"$folder/expected" <<'LINES'
/pipe 503 b'home 1\nabout 2\n'
/pipe 200 b''
exit 0
/file 503 b'home 1\nabout 2\n'
/file 200 b''
exit 0
/data 503 b'home 1\nabout 2\n'
/data 200 b'home 1\nabout 2\n'
exit 0
LINES
diff "$folder/expected" "$folder/log" || changed "what curl sends the second time, or how it ends"
echo "as known: the second upload of standard input is empty, and curl is content"
