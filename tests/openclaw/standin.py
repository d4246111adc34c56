"""A stand-in for chatgpt.com, auth.openai.com and api.openai.com, over TLS, for one private network namespace.

It answers every model request with the word in ANSWER and exchanges refresh tokens as the real one does: each works
once, a second use is refused with `refresh_token_reused`. Every request becomes one line of JSON in the journal, with
the *names* of the tokens (see signin.py) and never a token. The journal is also its memory: a stand-in that starts
again, for the next container, still knows which tokens were spent.

    python3 standin.py --address IP --certificate PEM --key PEM --journal FILE
"""

import argparse
import http.server
import json
import ssl
import threading
import time
import urllib.parse
from pathlib import Path

import signin

ANSWER = "PONG"


class Journal:
    """The lines so far, and the tokens that were spent by them."""

    def __init__(self, path: Path):
        self.path = path
        self.lock = threading.Lock()
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.spent = {line["refresh"] for line in lines if line["kind"] == "refresh"}
        # Signing out everywhere ends the tokens of a sign-in and of all exchanged from it; the harness writes such a line.
        self.revoked = {line["name"] for line in lines if line["kind"] == "revoke"}
        self.exchanged = sum(line["kind"] == "refresh" and line["granted"] for line in lines)

    def write(self, **line: object) -> None:
        with self.lock, self.path.open("a") as file:
            file.write(json.dumps({"at": round(time.time(), 1), **line}) + "\n")

    def revokes(self, name: str) -> bool:
        return name.split(".")[0] in self.revoked

    def spend(self, refresh: str) -> int | None:
        """The number of the exchange, or None if the token was spent or revoked before."""
        with self.lock:
            if refresh in self.spent or self.revokes(refresh):
                return None
            self.spent.add(refresh)
            self.exchanged += 1
            return self.exchanged


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    journal: Journal

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.headers.get("upgrade"):
            # A client that prefers a web socket falls back to plain HTTP.
            self.note("upgrade")
            self.close_connection = True
            return self.answer(426, {"error": "no web sockets here"})
        self.note("other")
        if self.path.startswith("/backend-api/codex/models"):
            return self.answer(200, {"models": []})
        if "accounts" in self.path:
            return self.answer(200, {"accounts": [], "items": []})
        self.answer(404, {"error": "not here"})

    def do_POST(self) -> None:
        body = self.body()
        path = urllib.parse.urlsplit(self.path).path
        if path.endswith("/oauth/token"):
            return self.refresh(body)
        if path.endswith("/responses"):
            return self.turn()
        self.note("other")
        self.answer(200, {})

    def refresh(self, body: bytes) -> None:
        text = body.decode(errors="replace")
        try:
            form = json.loads(text)
        except ValueError:
            form = dict(urllib.parse.parse_qsl(text))
        # Some releases that lost the token send the word "undefined": it gets a name of its own, so that it shows.
        sent = str(form.get("refresh_token"))
        name = signin.name_of(sent) if sent.startswith("rt-") else f"({sent[:12]})"
        number = self.journal.spend(name) if sent.startswith("rt-") else None
        self.note("refresh", refresh=name, granted=number is not None)
        if number is None:
            error = {"code": "refresh_token_reused", "type": "invalid_request_error",
                     "message": "Your refresh token has already been used to generate a new access token."}
            return self.answer(401, {"error": error})
        now = int(time.time())
        renewed, expires = f"{name}.r{number}", now + 5 * signin.DAY
        self.answer(200, {
            "access_token": signin.access_token(renewed, now, expires),
            "refresh_token": signin.refresh_token(renewed),
            "id_token": signin.id_token(renewed, now, expires),
            "expires_in": expires - now, "token_type": "Bearer",
        })

    def turn(self) -> None:
        token = self.bearer()
        good = token is not None and self.unexpired(token) and not self.journal.revokes(signin.name_of(token))
        self.note("turn", answered=good)
        if not good:
            error = {"message": "Provided authentication token is expired.", "code": "token_expired",
                     "type": "invalid_request_error"}
            return self.answer(401, {"error": error})
        events = "".join(f"event: {name}\ndata: {json.dumps({'type': name, 'sequence_number': at, **data})}\n\n"
                         for at, (name, data) in enumerate(answer_events()))
        self.answer(200, events.encode(), "text/event-stream")

    def bearer(self) -> str | None:
        kind, _, token = (self.headers.get("authorization") or "").partition(" ")
        return token if kind.lower() == "bearer" and token else None

    @staticmethod
    def unexpired(token: str) -> bool:
        try:
            part = token.split(".")[1]
            claims = json.loads(signin.base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            return claims["exp"] > time.time()
        except (IndexError, KeyError, TypeError, ValueError):
            return False

    def body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def note(self, kind: str, **more: object) -> None:
        token = self.bearer()
        self.journal.write(kind=kind, method=self.command, host=self.headers.get("host"), path=self.path[:80],
                           bearer=token and signin.name_of(token), account=self.headers.get("chatgpt-account-id"),
                           agent=(self.headers.get("user-agent") or "")[:40], **more)

    def answer(self, status: int, content: object, kind: str = "application/json") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer_events() -> list[tuple[str, dict]]:
    """The events of a whole answer of the Responses API, in order."""
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    response = {"id": "resp_1", "object": "response", "created_at": int(time.time()), "model": "stand-in"}
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 1,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2}
    part = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        ("response.created", {"response": {**response, "status": "in_progress", "output": []}}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}),
        ("response.content_part.added", {**part, "part": {**text, "text": ""}}),
        ("response.output_text.delta", {**part, "delta": ANSWER}),
        ("response.output_text.done", {**part, "text": ANSWER}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": {**response, "status": "completed", "output": [item], "usage": usage}}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("address", "certificate", "key", "journal"):
        parser.add_argument(f"--{flag}", required=True)
    args = parser.parse_args()
    Handler.journal = Journal(Path(args.journal))
    server = http.server.ThreadingHTTPServer((args.address, 443), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(args.certificate, args.key)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
