"""Requests to S3, signed with the user's keys [AWS Signature Version 4]."""

import configparser
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["AwsCredentials", "aws_credentials", "signed_headers"]

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class AwsCredentials:
    """Keys of an account; never shown."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def aws_credentials(environment: Mapping[str, str], home: Path) -> AwsCredentials | None:
    """Keys from the environment, else from the shared file; None for public buckets."""
    key, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if key and secret:
        return AwsCredentials(key, secret, environment.get("AWS_SESSION_TOKEN", ""))
    place = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    profile = environment.get("AWS_PROFILE") or "default"
    found = configparser.RawConfigParser()
    try:
        if not place.is_file() or place.stat().st_size > 2**20:
            return None
        found.read_string(place.read_text())
        part = found[profile]
        return AwsCredentials(
            part["aws_access_key_id"], part["aws_secret_access_key"], part.get("aws_session_token", "")
        )
    except (OSError, ValueError, KeyError, configparser.Error):
        return None


def signed_headers(
    url: str, credentials: AwsCredentials, region: str, service: str = "s3", now: datetime | None = None
) -> dict[str, str]:
    """Headers that authorise a GET of this address.

    Args:
        url: With its path and query encoded as they are sent.
        credentials: The keys.
        region: Of the bucket.
        service: As the signature names it.
        now: The time of the request; the present one by default.
    """
    parts = urlsplit(url)
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    signed = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    query = "&".join(sorted(p if "=" in p else f"{p}=" for p in parts.query.split("&") if p))
    lines = ["GET", parts.path or "/", query, *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, _EMPTY]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = b"AWS4" + credentials.secret.encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
    del signed["host"]  # whoever sends the request adds it
    return signed | {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    }
