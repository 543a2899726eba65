"""What the benchmarks share: programs that are needed, servers of their own on one core, waiting, and reading /proc."""

import os, shutil, socket, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICKS = os.sysconf("SC_CLK_TCK")


def require(programs):
    """`programs`: the program and Debian's package."""
    missing = [package for program, package in programs.items() if shutil.which(program) is None]
    if missing:
        sys.exit(f"{os.path.basename(sys.argv[0])}: apt-get install {' '.join(missing)}")


def call(*command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout.strip()


def build(*products):
    """The paths of the products, built for release."""
    swift = ["swift", "build", "-j", "2", "-c", "release", "--package-path", ROOT]
    for product in products:
        subprocess.run(swift + ["--product", product], check=True, stdout=sys.stderr)
    folder = call(*swift, "--show-bin-path")
    return [os.path.join(folder, product) for product in products]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(is_done, what, seconds=30):
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


class Process:
    """A server that was started here, and is stopped by its number."""

    def __init__(self, name, *argv, core=None, cwd=None, env=None, log=subprocess.DEVNULL):
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        self.name = name
        self.popen = subprocess.Popen(pinned + list(argv), stdout=log, stderr=log, cwd=cwd, env=env)
        self.pid = self.popen.pid

    def stop(self, seconds=30):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


def stat(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def cpu_seconds(pid):
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def status_kilobytes(pid, field):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid):
    """The children's numbers by role: web, consume, redis."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if int(stat(name)[1]) != pid:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        role = "web" if b"web" in words else "consume" if b"consume" in words else "redis"
        found.setdefault(role, []).append(int(name))
    return found


class Bench:
    """A folder and the processes of one benchmark; all of it goes when the block ends."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="tallymill-bench-")
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, *argv, **options):
        process = Process(name, *argv, **options)
        self.processes.append(process)
        return process

    def redis(self, name, durable, core=None):
        """A Redis of its own on a unix socket, or on a port if it is not durable. Returns process and address."""
        folder = self.path(name)
        os.mkdir(folder)
        if durable:
            address = os.path.join(folder, "redis.sock")
            where = ["--port", "0", "--unixsocket", address, "--appendonly", "yes", "--appendfsync", "always"]
        else:
            address = free_port()
            where = ["--port", str(address), "--appendonly", "no"]
        process = self.start(
            name,
            "redis-server",
            *where,
            "--save",
            "",
            "--dir",
            folder,
            "--maxmemory-policy",
            "noeviction",
            "--auto-aof-rewrite-percentage",
            "0",
            core=core,
        )
        wait(lambda: os.path.exists(address) if durable else listens(address), name, 10)
        return process, address

    def nginx(self, core=None):
        """Answers 200 and does nothing else. Returns its port."""
        port = free_port()
        with open(self.path("nginx.conf"), "w") as file:
            file.write(f"""worker_processes 1; daemon off; master_process off;
                pid {self.path('nginx.pid')}; error_log {self.path('nginx.log')};
                events {{ worker_connections 4096; }}
                http {{ access_log off; keepalive_requests 100000000;
                        server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}""")
        self.start("nginx", "nginx", "-c", self.path("nginx.conf"), core=core)
        wait(lambda: listens(port), "nginx listens")
        return port

    def up(self, binary, partitions, core=None, loops=None):
        """A whole cluster. Returns the process, its URL and its data folder."""
        port, data = free_port(), self.path(f"up-{len(self.processes)}")
        env = dict(os.environ, **({"TALLYMILL_EVENT_LOOPS": str(loops)} if loops else {}))
        process = self.start(
            "up",
            binary,
            "up",
            "--listen",
            f"127.0.0.1:{port}",
            "--admin-port",
            "0",
            "--partitions",
            str(partitions),
            "--data-dir",
            data,
            core=core,
            env=env,
        )
        wait(lambda: listens(port), "the cluster listens")
        return process, f"http://127.0.0.1:{port}", data
