"""A proxy before the emulator that can hold one AWS call, so that a test can kill a process at a known point."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Gate:
    """Passes everything on, except for the one call that it should hold."""

    def __init__(self, endpoint):
        self.upstream = urlsplit(endpoint)
        self._lock = threading.Lock()
        self._armed = None
        self._held = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                gate._handle(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, format, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def arm(self, action, *, takes_effect):
        """The next call of `action` is never answered; whether it reaches the emulator is `takes_effect`."""
        self._held.clear()
        with self._lock:
            self._armed = (action, takes_effect)

    def wait_until_held(self, seconds):
        return self._held.wait(seconds)

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        action = request.headers.get("X-Amz-Target", "").rpartition(".")[2] or f"{request.command} {request.path}"
        with self._lock:
            armed = self._armed
            strikes = armed is not None and armed[0] == action
            if strikes:
                self._armed = None
        if strikes and not armed[1]:
            self._drop(request)
            return
        upstream = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=60)
        try:
            upstream.request(request.command, request.path, body=body, headers=dict(request.headers))
            answer = upstream.getresponse()
            content = answer.read()
        except OSError as error:
            request.send_error(502, f"the emulator does not answer: {error}")
            return
        finally:
            upstream.close()
        if strikes:
            self._drop(request)
            return
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _drop(self, request):
        self._held.set()
        # No answer: the caller waits until it is killed, which closes the connection.
        request.connection.settimeout(60)
        try:
            request.connection.recv(1)
        except OSError:
            pass
        request.close_connection = True
