"""Clients that keep an account of what was acknowledged to them.

Each request carries an Idempotency-Key and is sent again, as it was, until it is answered with 200: so whatever dies
between, the sums of the ledger are what Tallymill has to have counted, to the unit.
"""
import collections, http.client, json, random, threading, time

CLIENTS, KEYS, PATIENCE_SECONDS = 6, 60, 120


class Ledger:
    """What was acknowledged, by key. Shared by all clients."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sums = collections.Counter()
        self.requests = 0
        self.sent_again = 0

    def add(self, increments, attempts):
        with self.lock:
            for key, value in increments.items():
                self.sums[key] += value
            self.requests += 1
            self.sent_again += attempts - 1

    @property
    def total(self):
        with self.lock:
            return sum(self.sums.values())


class Load:
    """Clients that send until the block ends, and then until their last request is answered.

    with Load(ledger, 3333) as load: ...
    """

    def __init__(self, ledger, port):
        self.ledger, self.port = ledger, port
        self.ending = threading.Event()
        self.abandoned = threading.Event()
        self.failures = []
        self.before = ledger.requests

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()
        self.wait_for_more(50)
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.abandoned.set()
        self.ending.set()
        for thread in self.threads:
            thread.join()
        if self.failures and not kind:
            raise AssertionError(f"a client gave up: {self.failures[0]}")

    @property
    def requests(self):
        return self.ledger.requests - self.before

    def wait_for_more(self, count):
        """Until so many more requests have been acknowledged."""
        goal, deadline = self.ledger.requests + count, time.monotonic() + PATIENCE_SECONDS
        while self.ledger.requests < goal:
            if self.failures or time.monotonic() > deadline:
                raise AssertionError(f"no more answers: {self.failures or self.ledger.requests}")
            time.sleep(0.01)

    def run(self, number):
        choices = random.Random(number * 1_000_003 + self.before)
        connection, count = None, 0
        while not self.ending.is_set():
            count += 1
            keys = [f"key-{choices.randrange(KEYS)}" for _ in range(choices.randint(1, 8))]
            increments = {key: choices.randint(-5, 100) for key in keys}
            name = f"client-{number}-{self.before}-{count}"
            try:
                connection, attempts = self.deliver(connection, name, increments)
            except AssertionError as error:
                self.failures.append(f"{name}: {error}")
                return
            self.ledger.add(increments, attempts)
        if connection:
            connection.close()

    def deliver(self, connection, name, increments):
        """Sends a request until it is acknowledged; the connection that did it, and how many attempts it took."""
        deadline, attempts, last = time.monotonic() + PATIENCE_SECONDS, 0, None
        while time.monotonic() < deadline and not self.abandoned.is_set():
            attempts += 1
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                headers = {"Content-Type": "application/json", "Idempotency-Key": name}
                connection.request("POST", "/increments", json.dumps(increments), headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    return connection, attempts
                last = f"{answer.status} {text[:200]}"
                if answer.status not in (202, 503):
                    raise AssertionError(last)
                if answer.getheader("Connection", "").lower() == "close":
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
                connection.close()
                connection = None
            time.sleep(0.05)
        raise AssertionError(f"not acknowledged within {PATIENCE_SECONDS} s: {last}")
