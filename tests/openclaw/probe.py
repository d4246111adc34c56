"""Waits until a gateway accepts a connection, then prints the answers of its two health endpoints: `probe.py PORT SECONDS`."""

import http.client
import json
import socket
import sys
import time


def status(port: int, path: str) -> str:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def main() -> int:
    port, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.25)
            continue
        print(json.dumps({"healthz": status(port, "/healthz"), "readyz": status(port, "/readyz")}))
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
