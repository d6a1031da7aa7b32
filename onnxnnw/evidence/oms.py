"""OpenSSF Model Signing v1.0: a signature beside a network or in its folder, by a key; checked and written.

A bundle is a Sigstore bundle around a DSSE envelope around an in-toto statement that lists files by digest; its one subject is
the SHA-256 of those digests, one after the other. Source: OMS specification 1.0; sigstore bundle 0.3.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.evidence.envelope import IN_TOTO, MAX_BYTES, Envelope, parse_json
from onnxnnw.evidence.keys import PublicKey, Signer
from onnxnnw.evidence.statements import STATEMENT
from onnxnnw.evidence.subject import FileDigest, absolute, digest_of, subject_of
from onnxnnw.files import read_regular
from onnxnnw.verification.visible import visible

__all__ = ["BUNDLE", "IN_FOLDER", "SignatureBundle", "bundle_beside", "is_bundle", "read_bundle", "signed_bundle"]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://model_signing/signature/v1.0"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What a folder holds for its version control, and no signature covers."""

MAX_FILES = 100_000
IN_FOLDER = "model.sig"


@dataclass(frozen=True)
class SignatureBundle:
    """A signature of a network.

    Attributes:
        path: Where it stands.
        envelope: What was signed, and by whom.
        resources: Name -> SHA-256 of its files; the name is ``.`` where one file alone was signed.
        root: SHA-256 over all of them.
    """

    path: Path
    envelope: Envelope
    resources: Mapping[str, str]
    root: str

    def unsigned(self, keys: Sequence[PublicKey]) -> str:
        """Why none of some keys signed it; empty where one did."""
        if self.envelope.signer(keys) is None:
            return f"{visible(self.path.name)}: is signed by none of the keys that were given, or was changed"
        return ""

    def problem(self, files: Sequence[FileDigest], keys: Sequence[PublicKey]) -> str:
        """Why the signature does not hold for all files of a network; empty where it does.

        Args:
            files: The model file first; in a folder that was signed, by their names in it.
        """
        shown = visible(self.path.name)
        if unsigned := self.unsigned(keys):
            return unsigned
        if set(self.resources) == {"."}:
            if len(files) > 1:
                return f"{shown}: covers the model file, not the {len(files) - 1} files with its weights"
            return "" if self.resources["."] == files[0].sha256 else f"{shown}: was made of another file"
        folder = absolute(self.path).parent
        for file in files:
            name = Path(os.path.relpath(absolute(file.path), folder)).as_posix()
            if self.resources.get(name) != file.sha256:
                return f"{shown}: does not cover {file.name} as it is"
        return ""


def is_bundle(document: Any) -> bool:
    """Whether JSON is a Sigstore bundle."""
    return isinstance(document, dict) and str(document.get("mediaType", "")).startswith("application/vnd.dev.sigstore.")


def bundle_beside(model: Path) -> Path | None:
    """The signature beside a model file, or in its folder."""
    places = (model.with_name(f"{model.name}.sig"), model.with_suffix(".sig"), model.with_name(IN_FOLDER))
    return next((place for place in places if place.is_file()), None)


def read_bundle(path: Path) -> SignatureBundle:
    """A signature by a key.

    Raises:
        UnreadableData: It is none, is damaged, or is of a kind that needs more than a key.
    """
    try:
        return _bundle(parse_json(read_regular(path, UnreadableData, MAX_BYTES)), path)
    except UnreadableData as error:
        raise UnreadableData(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableData(f"{path}: is no bundle of model_signing: {type(error).__name__}") from None


def _bundle(document: Any, path: Path) -> SignatureBundle:
    if not is_bundle(document):
        raise UnreadableData("is no Sigstore bundle")
    if "publicKey" not in document["verificationMaterial"]:
        raise UnreadableData(
            "is signed by a certificate; only bundles of a key are read here, use model_signing for it"
        )
    envelope = Envelope.from_json(document["dsseEnvelope"])
    statement = parse_json(envelope.payload)
    if envelope.payload_type != IN_TOTO or statement["predicateType"] != PREDICATE:
        raise UnreadableData(f"is no signature of the type {PREDICATE}")
    method = statement["predicate"]["serialization"]["method"]
    if method != "files":
        raise UnreadableData(f"lists {visible(str(method))}, and only whole files are compared here")
    resources: dict[str, str] = {}
    total = hashlib.sha256()
    listed = statement["predicate"]["resources"]
    for one in listed if len(listed) <= MAX_FILES else ():
        if one["algorithm"] != "sha256" or one["name"] in resources:
            raise UnreadableData(f"digests are SHA-256, of each file one; here is {visible(str(one['algorithm']))}")
        resources[str(one["name"])] = str(one["digest"]).lower()
        total.update(bytes.fromhex(one["digest"]))
    (subject,) = statement["subject"]
    if subject["digest"]["sha256"] != total.hexdigest() or not resources:
        raise UnreadableData("contradicts itself: its subject is not made of its files")
    return SignatureBundle(path, envelope, resources, total.hexdigest())


def signed_bundle(place: Path, signer: Signer, out: Path) -> bytes:
    """A bundle for a model file, or for all files of a folder, as model_signing verifies it.

    Args:
        place: A network in one file, or a folder.
        out: Where the bundle will stand; in a folder that is signed it is not covered itself.

    Raises:
        UsageError: The network's weights lie in other files, which one name cannot cover; or the key is of a kind that OMS lacks.
        CannotLook: A file cannot be read.
    """
    if signer.public.kind == "ed25519":
        raise UsageError("model signing knows keys on P-256 and P-384, no Ed25519")
    if place.is_dir():
        resources, ignored = _files_of(place, out), [*IGNORED, *_inside(place, out)]
    else:
        subject = subject_of(place)
        if subject.external:
            raise UsageError(f"{place}: its weights lie in other files; sign the folder {place.parent}")
        resources, ignored = {".": subject.model.sha256}, list(IGNORED)
    total = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in resources.values()))
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ignored}
    listed = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in resources.items()]
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": absolute(place).name, "digest": {"sha256": total.hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": listed},
    }
    payload = json.dumps(statement, ensure_ascii=True).encode()
    envelope = Envelope(IN_TOTO, payload).signed(signer).to_json()
    signature = {"sig": envelope["signatures"][0]["sig"], "keyid": ""}
    material = {"publicKey": {"hint": signer.public.id}, "tlogEntries": []}
    dsse = {"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": [signature]}
    return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": dsse}).encode()


def _files_of(folder: Path, out: Path) -> dict[str, str]:
    """Digests of all files of a folder, sorted by name."""
    skipped = {*IGNORED, *_inside(folder, out)}
    paths = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        top = here == folder
        folders[:] = [name for name in folders if not (top and name in IGNORED)]
        links = [name for name in [*folders, *names] if (here / name).is_symlink()]
        if links:
            raise UsageError(
                f"{here / links[0]}: is a link, which a signature does not cover; put the file in its place"
            )
        paths += [path for name in names if (path := here / name).relative_to(folder).as_posix() not in skipped]
        if len(paths) > MAX_FILES:
            raise UsageError(f"{folder}: holds more than {MAX_FILES:,} files")
    if not paths:
        raise UsageError(f"{folder}: holds no file to sign")
    ordered = sorted(PurePosixPath(path.relative_to(folder).as_posix()) for path in paths)
    return {str(name): digest_of(folder / name).sha256 for name in ordered}


def _inside(folder: Path, out: Path) -> list[str]:
    name = os.path.relpath(absolute(out), absolute(folder))
    return [] if name.startswith("..") else [Path(name).as_posix()]
