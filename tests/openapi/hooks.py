"""Formats that a schema cannot describe, such as a ChatGPT token."""

import base64
import json
import re
import zlib

import schemathesis
from hypothesis import strategies as st


def token(subject: int) -> str:
    """An unsigned JWT of an account, as tests/smoke makes them; nobody accepts it."""

    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {
        "iat": 1_770_000_000 + subject,
        "exp": 1_990_000_000,
        "https://api.openai.com/auth": {"chatgpt_account_id": f"account-{subject}"},
    }
    return ".".join([part({"alg": "none"}), part(claims), "signature"])


schemathesis.openapi.format("chatgpt-token", st.integers(0, 9).map(token))
cursors = st.sampled_from("abc").map(lambda user: base64.urlsafe_b64encode(f"after:{user}".encode()).rstrip(b"=").decode())
schemathesis.openapi.format("cursor", cursors)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Shortens a wait of up to a minute to one second."""
    query = case.query or {}
    seconds = str(query.get("timeout_seconds", 30))
    if case.operation.path.endswith("/wait") and seconds.isdecimal() and 1 < int(seconds) <= 60:
        case.query = {**query, "timeout_seconds": 1}


def known(user):
    """Replaces most valid ids by one of a few users: an unknown id only gets 404."""
    if not isinstance(user, str) or not re.fullmatch("[A-Za-z0-9_-]{1,64}", user):
        return user
    choice = zlib.crc32(user.encode()) % 4
    return ["alice", "bob", "carol", user][choice]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "user_id" in path_parameters:
        path_parameters["user_id"] = known(path_parameters["user_id"])
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and "user_id" in body:
        body["user_id"] = known(body["user_id"])
    return body
