"""Clients that never stop asking one port, until the end of standard input; then a line of JSON of what they saw.

Before that there is a line with each version once it has answered a few times.

    python -m chronos_assets_tests.platforms.local.hammer <port>

One client opens a connection for each request, one keeps its connection, one keeps it and pauses now and then.
"""

import http.client
import json
import sys
import threading
import time

FEW = 10


def main(port):
    stop, counting = threading.Event(), threading.Lock()
    seen, errors = {}, []

    def ask(connection):
        connection.request("POST", "/invocations", b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        version = json.loads(response.read())["version"]
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        with counting:
            seen[version] = seen.get(version, 0) + 1
            if seen[version] == FEW:
                sys.stdout.write(f"{version}\n")
                sys.stdout.flush()

    def client(kept, pause):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not stop.is_set():
            try:
                ask(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
                errors.append(f"{type(error).__name__}: {error}")
            if not kept:
                connection.close()
            time.sleep(pause)

    threads = [threading.Thread(target=client, args=way) for way in ((False, 0.002), (True, 0.005), (True, 0.3))]
    for thread in threads:
        thread.start()
    sys.stdin.buffer.read()
    stop.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({"seen": seen, "errors": errors}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
