"""Addresses of networks: what the user wrote, where requests go, and what may be shown of it.

Credentials come from where every other tool looks for them (the environment, the shared files) and go to the one server that they
belong to: never along a redirect, never into a message, a log or a record.
"""

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from onnxnnw.errors import UsageError
from onnxnnw.sources.signing import aws_credentials, signed_headers

__all__ = [
    "SCHEMES",
    "Address",
    "address_of",
    "hub_parts",
    "hub_token",
    "is_address",
    "is_repository",
    "origin",
    "shown_place",
]

SCHEMES = ("https", "http", "s3", "gs", "az", "hf")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

Headers = dict[str, str]


def _nothing(_url: str) -> Headers:
    return {}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials belong to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


@dataclass(frozen=True)
class Address:
    """Where a file is.

    Attributes:
        shown: What messages and results call it: no query, no credentials.
        url: Where requests go.
        authorise: Headers for a request to an address of the same origin.
        region: Of an S3 bucket; empty for everything else.
    """

    shown: str
    url: str = field(repr=False)
    authorise: Callable[[str], Headers] = field(default=_nothing, repr=False)
    region: str = ""

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """Its last part, as a file would be called."""
        return PurePosixPath(self.shown).name

    def headers(self, url: str) -> Headers:
        """What authorises a request; nothing where it goes to another server."""
        return self.authorise(url) if origin(url) == origin(self.url) else {}

    def beside(self, location: str) -> "Address":
        """A file at a relative place in the same folder; a query stays, since some tokens open whole folders."""
        parts = urlsplit(self.url)
        path = parts.path.rpartition("/")[0] + "/" + quote(location, safe="/~")
        return replace(
            self, shown=self.shown.rpartition("/")[0] + "/" + location, url=urlunsplit(parts._replace(path=path))
        )


def is_address(text: object) -> bool:
    """Whether this names something behind a server rather than a file: ``scheme://`` and no such file."""
    if isinstance(text, Address):
        return True
    return isinstance(text, str) and _ADDRESS.match(text) is not None and not Path(text).exists()


def is_repository(text: object) -> bool:
    """Whether an address names a repository of the hub rather than a file in one."""
    return isinstance(text, str) and text.lower().startswith("hf://") and not hub_parts(text)[3]


def shown_place(text: object) -> str:
    """A path or an address as it may be shown: without the credentials that an address may hold."""
    shown = str(text)
    return address_of(shown).shown if is_address(shown) and not is_repository(shown) else shown


def address_of(text: "str | Address") -> Address:
    """What the user wrote as an address.

    Raises:
        UsageError: No such scheme, or parts of it are missing.
    """
    if isinstance(text, Address):
        return text
    found = _ADDRESS.match(text)
    scheme = found[1].lower() if found else ""
    if scheme not in SCHEMES:
        raise UsageError(f"no networks are read from {scheme}://; there are {', '.join(SCHEMES)}")
    if any(c.isspace() or not c.isprintable() for c in text):
        raise UsageError("an address holds no spaces and no control characters; write %20 for a space")
    return {"s3": _s3, "gs": _gs, "az": _az, "hf": _hf}.get(scheme, _http)(text)


def _split(text: str, wanted: str) -> tuple[str, str, str]:
    """Bucket, key and query of an address of an object store."""
    bare, _, query = text.partition("://")[2].partition("?")
    bucket, _, key = bare.partition("/")
    if not bucket or not key or "@" in bucket:
        raise UsageError(f"an address of the form {wanted} was wanted")
    return bucket, unquote(key), query


def _http(text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError("the address has an impossible host or port") from None
    if not parts.hostname:
        raise UsageError("the address names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = quote(parts.path or "/", safe="/~%!$&'()*+,;=:@")
    url = urlunsplit((parts.scheme.lower(), place, path, parts.query, ""))
    shown = f"{parts.scheme.lower()}://{place}{parts.path}"
    if parts.username is None:
        return Address(shown, url)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Address(shown, url, lambda _: {"Authorization": "Basic " + base64.b64encode(pair).decode()})


def _s3(text: str, region: str = "") -> Address:
    bucket, key, query = _split(text, "s3://bucket/key")
    if query and not re.fullmatch(r"versionId=[A-Za-z0-9._~+/=-]+", query):
        raise UsageError("an address of S3 takes no query but ?versionId=…")
    region = region or _environment("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    if endpoint:
        base = f"{endpoint.rstrip('/')}/{bucket}"
    elif "." in bucket:  # no certificate covers a host with more dots
        base = f"https://s3.{region}.amazonaws.com/{bucket}"
    else:
        base = f"https://{bucket}.s3.{region}.amazonaws.com"
    url = f"{base}/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    known = aws_credentials(os.environ, Path.home())
    shown = f"s3://{bucket}/{key}"
    if known is None:
        return Address(shown, url, region=region)
    return Address(shown, url, lambda asked: signed_headers(asked, known, region), region)


def _gs(text: str) -> Address:
    bucket, key, query = _split(text, "gs://bucket/object")
    base = _environment("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
    base = base if "://" in base else f"http://{base}"
    url = f"{base.rstrip('/')}/{bucket}/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    return Address(f"gs://{bucket}/{key}", url, _bearer("GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"))


def _az(text: str) -> Address:
    container, key, query = _split(text, "az://container/blob")
    account = _environment("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    base = _environment("AZURE_STORAGE_ENDPOINT") or (account and f"https://{account}.blob.core.windows.net")
    if not base:
        raise UsageError("az:// needs the account's name: set AZURE_STORAGE_ACCOUNT_NAME, or give an https:// address")
    query = query or _environment("AZURE_STORAGE_SAS_TOKEN").lstrip("?")
    url = f"{base.rstrip('/')}/{container}/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    return Address(
        f"az://{container}/{key}", url, _bearer("AZURE_STORAGE_TOKEN", version={"x-ms-version": "2021-08-06"})
    )


def _hf(text: str) -> Address:
    owner, name, revision, path = hub_parts(text)
    if not path:
        raise UsageError("this address names a repository, not a file: hf://owner/name/path/of/the/file, or --file")
    base = _environment("HF_ENDPOINT") or "https://huggingface.co"
    parts = [quote(part, safe="") for part in (owner, name, "resolve", revision or "main")]
    url = f"{base.rstrip('/')}/{'/'.join(parts)}/{quote(path, safe='/~')}"
    at = f"@{revision}" if revision else ""
    return Address(f"hf://{owner}/{name}{at}/{path}", url, hub_token)


def hub_parts(text: str) -> tuple[str, str, str, str]:
    """Owner, name, revision (empty: the usual one) and path (empty: the repository) of a hub's address.

    Raises:
        UsageError: It has another form.
    """
    found = re.fullmatch(r"hf://([^/@?#]+)/([^/@?#]+)(?:@([^/?#]+))?(?:/([^?#]*))?", text, re.IGNORECASE)
    if not found or ".." in (found[4] or "").split("/"):
        raise UsageError("an address of the form hf://owner/name[@revision]/path was wanted")
    return found[1], found[2], unquote(found[3] or ""), (found[4] or "").strip("/")


def hub_token(_url: str) -> Headers:
    """What authorises a request to the hub, where its own tools left a token."""
    token = _environment("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    if not token:
        home = _environment("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
        place = Path(_environment("HF_TOKEN_PATH") or Path(home) / "token")
        try:
            token = place.read_text()[:1000].strip() if place.is_file() else ""
        except (OSError, ValueError):
            token = ""
    return {"Authorization": f"Bearer {token}"} if token.isascii() and token.isprintable() and token else {}


def _bearer(*names: str, version: Mapping[str, str] | None = None) -> Callable[[str], Headers]:
    def headers(_url: str) -> Headers:
        token = _environment(*names)
        return dict(version or {}) | ({"Authorization": f"Bearer {token}"} if token else {})

    return headers


def _environment(*names: str) -> str:
    """The first of these variables that is set."""
    return next((value.strip() for name in names if (value := os.environ.get(name, "").strip())), "")
