"""The loads of the benchmarks: wrk and `tallymill bench`, what they print, and tables of figures."""

import json, os, re, statistics, subprocess, sys, time

from harness import call

LOAD = 1  # the core

ONE = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, "/increment", nil, "key=k" .. (n * 7919 % 10000) .. "&value=1")
end
"""
LINES = """wrk.method = "POST"
wrk.headers["Content-Type"] = "text/plain"
local bodies, n = {}, 0
for b = 1, 64 do
  local lines = {}
  for i = 1, 1000 do lines[i] = "k" .. ((b * 1000 + i) * 7919 % 10000) .. " 1" end
  bodies[b] = table.concat(lines, "\\n") .. "\\n"
end
request = function()
  n = n % 64 + 1
  return wrk.format(nil, "/increments", nil, bodies[n])
end
"""
INCRBY = """wrk.method = "POST"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, "/", nil, "INCRBY/k" .. (n * 7919 % 10000) .. "/1")
end
"""
ERRORS = """done = function(summary)
  local e = summary.errors
  io.write(string.format("failed %d\\n", e.status + e.connect + e.read + e.write + e.timeout))
end
"""


def table(title, head, rows):
    print(f"\n{title}")
    cells = [head] + [
        [
            f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell
            for cell in row
        ]
        for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print(
            "  "
            + row[0].ljust(widths[0])
            + "".join(cell.rjust(width + 2) for cell, width in zip(row[1:], widths[1:]))
        )
    sys.stdout.flush()


def wrk(bench, port, script, connections, seconds):
    """Requests a second, the 99th percentile in ms, failures."""
    path = bench.path("load.lua")
    with open(path, "w") as file:
        file.write(script + ERRORS)
    text = call(
        "taskset",
        "-c",
        str(LOAD),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        path,
        f"http://127.0.0.1:{port}/",
    )
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return (
        float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
        int(re.search(r"failed (\d+)", text).group(1)),
    )


def load(binary, url, data, *options):
    """`tallymill bench`: its report, sums checked."""
    run = subprocess.run(
        [
            "taskset",
            "-c",
            str(LOAD),
            binary,
            "bench",
            "--url",
            url,
            "--data-dir",
            data,
            "--format",
            "json",
            *map(str, options),
        ],
        capture_output=True,
        text=True,
    )
    if run.returncode != 0:
        sys.exit(
            f"tallymill bench {' '.join(map(str, options))} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
        )
    return json.loads(run.stdout)


def summary(report, *names):
    """Figures of a report of `tallymill bench`."""
    run = report["load"]
    requests, oldest = run["requests"], report["oldest_batch_ms"]
    found = {
        "rate": run["requests_per_s"],
        "increments": run["increments_per_s"],
        "acknowledged": requests["acknowledged"],
        "oldest": (oldest["max"] if oldest else 0) / 1000,
        "failed": requests["refused"] + requests["unknown"] + requests["unsent"],
    }
    found |= {name.replace("_", "."): value / 1000 for name, value in run["latency_us"].items()}
    if report["parked"]:
        found["memory"] = report["parked"]["resident_per_connection"] / 1024
        found["answered"] = report["parked"]["answered"]
    return [found[name] for name in names]


def flush_microseconds(folder):
    """The median of an fdatasync after 2 kB."""
    times = []
    with open(os.path.join(folder, "flush"), "wb", buffering=0) as file:
        for _ in range(500):
            file.write(b"x" * 2000)
            start = time.monotonic()
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - start)
    return statistics.median(times) * 1e6
