"""Sign-ins that are well-formed and belong to nobody: JWTs without a signature, for an account that does not exist.

A sign-in has a *name*. Its tokens carry it, so that the stand-in can record whose token it saw without
writing a token: the access token of `ann` has `jti` `ann`, its refresh token is `rt-ann`, and the sign-in that the
stand-in gives in exchange is called `ann.r1`, then `ann.r1.r2` and so on.
"""

import base64
import json
import time

DAY = 86400
ACCOUNT = "acc_harness"
# Sign-ins of other accounts, by the beginning of their names: account and person. Two are of one team.
OWNERS = {"otto": ("acc_other", "user-otto"), "tea": ("acc_team", "user-tea"), "tom": ("acc_team", "user-tom")}
AUTH_CLAIM = "https://api.openai.com/auth"
PROFILE_CLAIM = "https://api.openai.com/profile"


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _jwt(claims: dict) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}.c2ln"


def rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def owner(name: str) -> tuple[str, str]:
    """Account and person of a sign-in, and of all sign-ins exchanged from it."""
    root = name.split(".")[0]
    return next((whose for start, whose in OWNERS.items() if root.startswith(start)), (ACCOUNT, "user-harness"))


def email(name: str) -> str:
    """The person's address: a store that encrypts its tokens still shows it."""
    return f"{owner(name)[1]}@example.invalid"


def access_token(name: str, issued: int, expires: int) -> str:
    account, person = owner(name)
    return _jwt({
        "jti": name, "iat": issued, "exp": expires, "aud": ["https://api.openai.com/v1"],
        "iss": "https://auth.openai.com", "client_id": "app_harness",
        "scp": ["openid", "profile", "email", "offline_access"],
        AUTH_CLAIM: {"chatgpt_account_id": account, "chatgpt_user_id": person, "user_id": person,
                     "chatgpt_plan_type": "pro"},
        PROFILE_CLAIM: {"email": email(name), "email_verified": True},
    })


def id_token(name: str, issued: int, expires: int) -> str:
    account, person = owner(name)
    return _jwt({"iat": issued, "exp": expires, "email": email(name),
                 AUTH_CLAIM: {"chatgpt_account_id": account, "chatgpt_user_id": person, "chatgpt_plan_type": "pro"}})


def refresh_token(name: str) -> str:
    return f"rt-{name}"


def sign_in(name: str, issued: int, expires: int) -> dict:
    """The `auth` of a provision request: the content of `auth.json` after `codex login`."""
    return {
        "auth_mode": "chatgpt",
        "tokens": {"access_token": access_token(name, issued, expires), "refresh_token": refresh_token(name),
                   "id_token": id_token(name, issued, expires), "account_id": owner(name)[0]},
        "last_refresh": rfc3339(issued),
    }


def fresh(name: str, age_seconds: int = 60) -> dict:
    """A sign-in that is valid for five days from its issue: an older one expires earlier."""
    issued = int(time.time()) - age_seconds
    return sign_in(name, issued, issued + 5 * DAY)


def expired(name: str) -> dict:
    """A sign-in issued six days ago and expired for an hour; only its refresh token is still valid."""
    now = int(time.time())
    return sign_in(name, now - 6 * DAY, now - 3600)


def profile(name: str, provider: str) -> dict:
    """A fresh sign-in as OpenClaw keeps it in `auth-profiles.json`."""
    issued = int(time.time()) - 60
    tokens = sign_in(name, issued, issued + 5 * DAY)["tokens"]
    return {"type": "oauth", "provider": provider, "access": tokens["access_token"], "refresh": tokens["refresh_token"],
            "expires": (issued + 5 * DAY) * 1000, "accountId": owner(name)[0], "email": email(name)}


def name_of(token: str) -> str:
    """The name of a token's sign-in; a token that is not ours is not repeated."""
    if token.startswith("rt-"):
        return token[3:]
    try:
        part = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["jti"]
    except (IndexError, KeyError, TypeError, ValueError):
        return "not ours"
