"""The real `openclaw-provisioner serve` as a process, and an HTTP client for it."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request


class Server:
    """One replica at a time, on a free port; the next one continues with the same files and tokens."""

    def __init__(self, binary, environment, log):
        self.binary = binary
        self.environment = environment
        self.log = log
        self.process = None
        self.url = None

    def start(self):
        environment = {**os.environ, **self.environment, "PROVISIONER_LISTEN": "127.0.0.1:0", "PROVISIONER_LOG_FORMAT": "json"}
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.binary, "serve", "--initialize"], env=environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with self.log.open("rb") as log:
                log.seek(began)
                for line in log:
                    if b'"listening"' in line and line.endswith(b"\n"):
                        self.url = "http://" + json.loads(line)["address"]
                        return
            time.sleep(0.05)
        raise RuntimeError(f"serve did not come up:\n{self.tail()}")

    def kill(self):
        """kill -9: no handler runs, nothing is finished."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        """SIGTERM, as ECS stops a task. Returns the exit status."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Answer:
    """A response: status, headers, and the body parsed."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = json.loads(body) if body else None

    def __repr__(self):
        return f"{self.status} {json.dumps(self.body)}"


def call(server, method, path, token, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data=data, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())
