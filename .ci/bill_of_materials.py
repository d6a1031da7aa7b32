"""The bill of materials of our own wheel, as CycloneDX 1.6: what it is, what it asks for, and what gates install, by hash.

python .ci/bill_of_materials.py onnxnnw-0.2.0-py3-none-any.whl requirements/verify.txt
"""

import hashlib
import json
import re
import sys
import uuid
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def component(name: str, version: str, hashes: list[str], marker: str = "") -> dict[str, Any]:
    """A library; of several files with one version, the hashes stand as properties: CycloneDX's own are those of one file."""
    address = f"pkg:pypi/{name}@{version}"
    out: dict[str, Any] = {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}
    properties = [{"name": "onnxnnw:file-sha256", "value": value} for value in hashes]
    if marker:
        properties.append({"name": "onnxnnw:marker", "value": marker})
    return {**out, "properties": properties} if properties else out


def locked(text: str) -> list[dict[str, Any]]:
    """The components of a requirements file with hashes."""
    found: list[tuple[str, str, str, list[str]]] = []
    for line in text.splitlines():
        if match := PINNED.match(line):
            found.append((match[1], match[2], match[3] or "", []))
        elif found and (match := HASH.search(line)):
            found[-1][3].append(match[1])
    return [component(name, version, hashes, marker) for name, version, marker, hashes in found]


def bill(wheel: Path, lock: Path) -> dict[str, Any]:
    """The document; the same for the same files."""
    content = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    digest = hashlib.sha256(content).hexdigest()
    own = component(metadata["Name"], metadata["Version"], [])
    own |= {
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": metadata["License-Expression"]}}],
        "properties": [{"name": "onnxnnw:requires", "value": asked} for asked in metadata.get_all("Requires-Dist", [])],
    }
    libraries = locked(lock.read_text())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(digest[:32])}",
        "version": 1,
        "metadata": {"component": own},
        "components": libraries,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [library["bom-ref"] for library in libraries]}],
    }


if __name__ == "__main__":
    json.dump(bill(Path(sys.argv[1]), Path(sys.argv[2])), sys.stdout, indent=2)
    sys.stdout.write("\n")
