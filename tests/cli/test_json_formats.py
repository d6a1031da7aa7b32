"""JSON is a contract: what the commands print is what the pages in docs/ say, field for field and type for type."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from onnxnnw.campaign import results, running
from onnxnnw.cli import main
from onnxnnw.cli.entry import build_app
from onnxnnw.records.record_file import load_record
from tests.support.keys import key_pair

ROOT = Path(__file__).parent.parent.parent
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").rglob("*.md")}
SECTIONS = dict(
    re.findall(r"^## `(onnxnnw/[a-z]+/\d)`\n(.*?)(?=^## |\Z)", PAGES["json-formats.md"], re.MULTILINE | re.DOTALL)
)

COMMANDS = {
    "fingerprint": ["fingerprint {model} -o new.record --json"],
    "embed": [
        "embed {model} -o marked.onnx --record new.record --json",
        "embed {model} --recipients list.csv -o copies --record records --unchecked --json",
    ],
    "verify": ["verify {marked} --record {record} --json", "verify {original} --record {record} --full --json"],
    "inspect": ["inspect {model} --json"],
    "digest": ["digest {model} --json"],
    "compare": ["compare {model} {marked} --json"],
    "check": ["check --policy onnxnnw.toml --json"],
    "attest verify": ["attest verify net.intoto.jsonl --key p256.pub --json"],
    "measure": ["measure {model} --own own.npz --metric top1 --json"],
    "evaluate": ["evaluate --preset smoke --dry-run --cache cache --json", "evaluate --preset smoke -o results --json"],
}
"""Every command that has ``--json``, in every way that changes the fields."""

REGISTRY_COMMANDS = {
    "registry add": "registry add {record} finger.record --registry r.db --json",
    "registry list": "registry list --registry r.db --json",
    "registry show": "registry show {commitment} --registry r.db --json",
    "registry search": "registry search {marked} --registry r.db --json",
    "registry unicity": "registry unicity {marked} --registry r.db --json",
    "registry check": "registry check --registry r.db --json",
    "registry revoke": "registry revoke {commitment} --reason lost --registry r.db --json",
}
"""Those of a registry in their order; they have a page of their own, and ``registry log verify`` a test of its own."""

OWN_FILES = {"card", "checkpoint", "entry"}
"""What the package writes for itself and no command prints."""

KINDS = {
    "string": str,
    "integer": int,
    "number": int | float,
    "list": list,
    "boolean": bool,
    "object": dict,
    "null": type(None),
}


def documented(text: str) -> dict[str, str]:
    """Fields of the first table of a text, with the cell after each."""
    table = text[text.index("| field |") :].partition("\n\n")[0]
    rows = [row.split(" | ") for row in table.splitlines()[2:]]
    return {name: cells[1] for cells in rows for name in re.findall(r"`([^`]+)`", cells[0])}


def printed(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of an object and of the objects in its lists, with their values."""
    for name, value in document.items():
        yield prefix + name, value
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict) and "format" not in item:  # what has a format of its own has a page of its own
                yield from printed(item, f"{prefix}{name}[].")


def named(commands: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by their names, those of groups with the group's before it."""
    for name, command in commands.items():
        yield before + name, command
        yield from named(getattr(command, "commands", {}), f"{before}{name} ")


@pytest.fixture
def answers(enrolled, tmp_path, monkeypatch, capsys):
    """What a command line prints, in a folder of its own; a campaign is not run, only reported."""
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("destination_id\nGlobex\n")
    rng = np.random.default_rng(0)
    np.savez("own.npz", inputs=rng.standard_normal((4, 3, 32, 32)).astype(np.float32), targets=rng.integers(0, 10, 4))
    entry = 'name = "n"\nfiles = ["deployed.onnx"]\nrecords = ["mark.record"]\nrequire = "traced"\n'
    Path("onnxnnw.toml").write_text(f'format = "onnxnnw/policy/1"\n[[network]]\n{entry}')
    Path("deployed.onnx").write_bytes(enrolled.marked.read_bytes())
    Path("mark.record").write_bytes(enrolled.record.read_bytes())
    wanted = f"--attestation net.intoto.jsonl --sign {key_pair(tmp_path).private}"
    with pytest.raises(SystemExit):
        main(f"verify deployed.onnx --record mark.record {wanted}".split())
    capsys.readouterr()
    monkeypatch.setattr(running, "evaluate", lambda *arguments: results.RunSummary(7, 5, 3, 1.5, 0.25))
    places = {"model": enrolled.original, **vars(enrolled)}

    def answer(line: str) -> dict[str, Any]:
        with pytest.raises(SystemExit):
            main([part.format(**places) for part in line.split()])
        return json.loads(capsys.readouterr().out)

    return answer


def test_every_command_that_prints_json_is_held_against_the_pages():
    """A new one is missed here before it is missed by a user."""
    commands = dict(named(typer.main.get_command(build_app()).commands))
    found = {n for n, c in commands.items() if any("--json" in option.opts for option in c.params)}
    assert {name for name in found if not name.startswith("registry ")} == COMMANDS.keys()
    assert {name for name in found if name.startswith("registry ")} == {*REGISTRY_COMMANDS, "registry log verify"}


def test_every_format_has_a_page():
    """Whatever the package prints or leaves for users to read is named in docs/."""
    sources = "".join(path.read_text() for path in (ROOT / "onnxnnw").rglob("*.py"))
    written = set(re.findall(r"onnxnnw/([a-z]+)/\d", sources)) - OWN_FILES
    pages = "".join(PAGES.values())
    assert {"enrolment", "verdict", "record"} <= written
    assert written <= set(re.findall(r"onnxnnw/([a-z]+)/\d", pages))


@pytest.mark.parametrize("line", [line for lines in COMMANDS.values() for line in lines])
def test_what_is_printed_is_what_is_documented(line, answers):
    """The same fields, of the types that the page says."""
    found = answers(line)
    if found["format"] == "onnxnnw/verdict/1":
        assert documented(PAGES["verdict-format.md"]).keys() == found.keys()
        return
    said, fields = documented(SECTIONS[found["format"]]), dict(printed(found))
    assert said.keys() == fields.keys()
    for name, value in fields.items():
        allowed = [
            KINDS[word] for word in re.findall(r"\b(?:string|integer|number|boolean|list|object|null)\b", said[name])
        ]
        assert isinstance(value, allowed[0]) or (allowed[1:] == [KINDS["null"]] and value is None), name


@pytest.mark.parametrize("name", SECTIONS)
def test_examples_are_of_their_format(name):
    """Each section shows one, and it has all the fields."""
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS[name], re.DOTALL)
    found = json.loads(example)
    assert found["format"] == name
    assert [field for field, _ in printed(found)] == list(documented(SECTIONS[name]))


def test_what_a_registry_prints_is_what_its_page_says(answers, enrolled):
    """The fields of each format, no more and no fewer."""
    rows = re.findall(r"^\| `(onnxnnw/[a-z]+/1)` \| [^|]* \| (.*) \|$", PAGES["registry-formats.md"], re.MULTILINE)
    said = {name: set(re.findall(r"`([a-z_]+)`", fields)) for name, fields in rows}
    commitment = load_record(enrolled.record).commitment
    answers("fingerprint {model} -o finger.record --json")
    for line in REGISTRY_COMMANDS.values():
        found = answers(line.replace("{commitment}", commitment))
        assert found.keys() - {"format"} <= said[found["format"]], line
        assert not [name for name in said[found["format"]] - found.keys() if f'"{name}"' not in json.dumps(found)], line
