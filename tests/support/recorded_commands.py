"""Commands whose output is kept as text: ``python -m tests.support.recorded_commands`` writes all of it anew.

Read the difference before you commit it: whatever changed there, changed for users.
"""

import contextlib
import gc
import hashlib
import io
import itertools
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from onnxnnw.cli import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.records.key import Key
from tests.support import calibration_networks as networks
from tests.support import disguises, golden
from tests.support.keys import key_pair
from tests.support.networks import convolutional, dense, save

__all__ = ["COMMANDS", "FOLDER", "Recorded", "differences", "make_inputs", "output_of"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "cli" / "recorded"
STRANGER = b"a stranger's network, all public"


@dataclass(frozen=True)
class Recorded:
    """A command line with a name.

    Args:
        line: What is typed after ``onnxnnw``, in the folder that ``make_inputs`` fills.
        shows: Files that it writes and whose text is kept, too.
        first: Commands before it, whose output is not kept.
    """

    name: str
    line: str
    shows: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.name


POLICY = 'format = "onnxnnw/policy/1"\n'
ENTRY = '[[network]]\nname = "{name}"\nfiles = ["{files}"]\nrecords = ["{records}"]\nrequire = "{require}"\n{more}\n'


def make_inputs(folder: Path) -> None:
    """The golden networks and records, and networks made of key streams: the same bytes on every machine."""
    for path in (ROOT / "tests" / "golden").iterdir():
        if path.suffix in (".onnx", ".json"):
            shutil.copy(path, folder)
    rng = np.random.default_rng(0)
    network = golden.weights()
    other = golden.weights(STRANGER)
    networks.save(other, folder / "stranger.onnx")
    networks.save(disguises.permuted(network, rng), folder / "permuted.onnx")
    networks.save(disguises.rescaled(network, rng), folder / "rescaled.onnx")
    networks.save({**network, "fc.weight": other["fc.weight"]}, folder / "new-head.onnx")
    tuned = {name: other[name] if name.startswith(("block3", "fc")) else network[name] for name in network}
    networks.save(tuned, folder / "fine-tuned.onnx")
    save(dense(width=64), folder / "dense.onnx")
    save(convolutional(), folder / "convolutional.onnx")
    fingerprint(folder / "network.onnx", folder / "few.json", positions=8, key=Key(b"few positions, format 1, public."))
    key_pair(folder)
    (folder / "list.csv").write_text("destination_id\nGlobex\nInitech\n")
    (folder / "broken.json").write_text("{}")
    (folder / "torn.onnx").write_bytes((folder / "network.onnx").read_bytes()[:40_000])
    (folder / "records").mkdir()
    for name in ("mark-1.json", "mark-2.json", "trace-1.json"):
        shutil.copy(folder / name, folder / "records")
    (folder / "records" / "notes.txt").write_text("not a record")
    policies = {
        "passes": ENTRY.format(name="ours", files="marked.onnx", records="mark-1.json", require="traced", more=""),
        "fails": ENTRY.format(name="ours", files="stranger.onnx", records="mark-1.json", require="traced", more=""),
        "unsure": ENTRY.format(name="ours", files="nowhere.onnx", records="mark-1.json", require="traced", more=""),
        "forbids": ENTRY.format(
            name="ours",
            files="rescaled.onnx",
            records="trace-1.json",
            require="traced",
            more='forbid = ["channels-rescaled"]',
        ),
        "wrong": "[[network]]\nnames = 1\n",
    }
    for name, text in policies.items():
        (folder / f"{name}.toml").write_text(POLICY + text)


KNOWN = "fingerprint network.onnx -o new.json"
SIGNED = ("sign network.onnx --key p256.pem", "sign stranger.onnx --key p256.pem")
COMMANDS = (
    # what is known of one file
    Recorded("inspect", "inspect network.onnx"),
    Recorded("inspect-json", "inspect convolutional.onnx --json"),
    Recorded("inspect-torn", "inspect torn.onnx"),
    Recorded("inspect-folder", "inspect ."),
    Recorded("digest", "digest network.onnx"),
    Recorded("digest-json", "digest dense.onnx --json"),
    Recorded("digest-missing", "digest nowhere.onnx"),
    # enrolment
    Recorded("fingerprint", "fingerprint network.onnx -o new.json"),
    Recorded(
        "fingerprint-json", "fingerprint dense.onnx -o new.json --positions 128 --actor ACME --role Trainer --json"
    ),
    Recorded("fingerprint-ancestor", "fingerprint fine-tuned.onnx -o new.json --positions 64 --ancestor network.onnx"),
    Recorded("fingerprint-of-the-ancestor", "fingerprint network.onnx -o new.json --ancestor network.onnx"),
    Recorded("fingerprint-unrelated", "fingerprint network.onnx -o new.json --unrelated trace-1.json"),
    Recorded("fingerprint-too-many", "fingerprint network.onnx -o new.json --positions 1000000"),
    Recorded("embed", "embed network.onnx -o new.onnx --record new.json"),
    Recorded("embed-unchecked-json", "embed dense.onnx -o new.onnx --record new.json --unchecked --json"),
    Recorded(
        "embed-replaced",
        "embed network.onnx -o new.onnx --record new.json --insertion replaced --strength 4 --unchecked",
    ),
    Recorded("embed-keeps", "embed marked.onnx -o new.onnx --record new.json --keep mark-1.json --unchecked"),
    Recorded("embed-over-itself", "embed network.onnx -o network.onnx --record new.json"),
    Recorded("embed-over-a-record", "embed network.onnx -o new.onnx --record mark-1.json"),
    Recorded(
        "embed-recipients",
        "embed network.onnx --recipients list.csv -o copies --record kept --unchecked --json",
    ),
    # verification with one record
    Recorded("verify", "verify marked.onnx --record mark-1.json"),
    Recorded("verify-json", "verify marked.onnx --record mark-1.json --json"),
    Recorded("verify-full", "verify marked.onnx --record mark-1.json --full"),
    Recorded("verify-added", "verify marked-added.onnx --record mark-2.json --json"),
    Recorded("verify-unmarked", "verify network.onnx --record mark-1.json"),
    Recorded("verify-fingerprint", "verify network.onnx --record trace-1.json --require identical"),
    Recorded("verify-stranger", "verify stranger.onnx --record trace-1.json"),
    Recorded("verify-stranger-json", "verify stranger.onnx --record mark-1.json --json"),
    Recorded("verify-new-head", "verify new-head.onnx --record trace-1.json --full --json"),
    Recorded("verify-not-identical", "verify new-head.onnx --record trace-1.json --require identical"),
    Recorded("verify-explained", "verify new-head.onnx --record trace-1.json --min-explained 0.99"),
    Recorded("verify-other-layout", "verify dense.onnx --record mark-1.json"),
    Recorded("verify-few", "verify stranger.onnx --record few.json"),
    Recorded("verify-rescaled", "verify rescaled.onnx --record trace-1.json"),
    Recorded("verify-permuted", "verify permuted.onnx --record trace-1.json"),
    Recorded("verify-reference", "verify permuted.onnx --record trace-1.json --reference network.onnx --json"),
    Recorded("verify-other-reference", "verify permuted.onnx --record trace-1.json --reference stranger.onnx"),
    Recorded("verify-rtw", "verify marked-rtw.onnx --record rtw-1.json"),
    Recorded("verify-tbw", "verify network.onnx --record tbw-1.json"),
    Recorded("verify-recipient", "verify marked-recipient-2.onnx --record recipient-1.json"),
    Recorded("verify-quiet", "verify stranger.onnx --record mark-1.json --quiet"),
    # several records, several files
    Recorded("verify-two-records", "verify marked.onnx --record mark-1.json --record trace-1.json --json"),
    Recorded("verify-broken-record", "verify stranger.onnx --record mark-1.json --record broken.json"),
    Recorded("verify-folder", "verify marked.onnx --records records"),
    Recorded("verify-folder-json", "verify stranger.onnx --records records --json"),
    Recorded("verify-two-files", "verify marked.onnx stranger.onnx torn.onnx --record mark-1.json"),
    Recorded(
        "verify-parent",
        "verify network.onnx --record new.json --parent network.onnx --parent-key p256.pub",
        first=(KNOWN, *SIGNED),
    ),
    Recorded(
        "verify-other-parent",
        "verify marked.onnx --record mark-1.json --parent stranger.onnx --parent-key p256.pub",
        first=SIGNED,
    ),
    Recorded("verify-sarif", "verify stranger.onnx --record mark-1.json --sarif out.sarif", ("out.sarif",)),
    Recorded("verify-junit", "verify stranger.onnx --record mark-1.json --junit out.xml", ("out.xml",)),
    # what cannot be looked at, and wrong usage
    Recorded("verify-no-record", "verify marked.onnx"),
    Recorded("verify-missing", "verify nowhere.onnx --record mark-1.json"),
    Recorded("verify-a-record", "verify mark-1.json --record mark-1.json"),
    Recorded("verify-commitment", "verify marked.onnx --record mark-1.json --commitment 00"),
    Recorded("verify-rate", "verify marked.onnx --record mark-1.json --false-positive-rate nan"),
    Recorded("unknown-option", "verify marked.onnx --recrod mark-1.json"),
    Recorded("unknown-command", "verfy marked.onnx"),
    # two networks
    Recorded("compare", "compare network.onnx marked.onnx"),
    Recorded("compare-json", "compare network.onnx new-head.onnx --json"),
    Recorded("compare-permuted", "compare network.onnx permuted.onnx"),
    Recorded("compare-stranger", "compare network.onnx stranger.onnx"),
    # policies
    Recorded("check-passes", "check --policy passes.toml"),
    Recorded("check-fails", "check --policy fails.toml --json"),
    Recorded("check-unsure", "check --policy unsure.toml"),
    Recorded("check-forbids", "check --policy forbids.toml"),
    Recorded("check-wrong", "check --policy wrong.toml"),
    # modifications
    Recorded("modify-list", "modify --list"),
    Recorded("modify", "modify network.onnx gaussian-noise --ratio 0.1 -o new.onnx"),
    Recorded("modify-option", "modify network.onnx gaussian-noise --rate 0.1 -o new.onnx"),
    Recorded("modify-unknown", "modify network.onnx nois -o new.onnx"),
    # methods and campaigns
    Recorded("method-check", "method check rtw --keys 20"),
    Recorded("method-unknown", "method check nct2"),
    Recorded("measure-unknown", "measure network.onnx --task nothing --data ."),
    Recorded("evaluate-list", "evaluate --list"),
    Recorded("report-missing", "report nowhere -o report.html"),
    # registries
    Recorded("registry-add", "registry add records mark-1.json --registry r.db"),
    Recorded("registry-list", "registry list --registry r.db", first=("registry add mark-1.json --registry r.db",)),
    Recorded(
        "registry-search",
        "registry search marked.onnx --registry r.db --json",
        first=("registry add mark-1.json trace-1.json --registry r.db",),
    ),
    Recorded(
        "registry-stranger",
        "registry search stranger.onnx --registry r.db",
        first=("registry add mark-1.json trace-1.json --registry r.db",),
    ),
    Recorded("registry-check", "registry check --registry r.db", first=("registry add mark-1.json --registry r.db",)),
    Recorded("registry-missing", "registry list --registry nowhere.db"),
)


def output_of(command: Recorded, inputs: Path) -> str:
    """What a command does in a copy of the inputs: command line, exit code, both streams and files, as they are kept."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, contextlib.chdir(place):
        shutil.copytree(inputs, place, dirs_exist_ok=True)
        for line in command.first:
            _run(line)
        code, out, err = _run(command.line)
        parts = [f"$ onnxnnw {command.line}\n", f"exit {code}\n", f"---- stdout\n{out}", f"---- stderr\n{err}"]
        parts += [f"---- {name}\n{Path(name).read_text()}" for name in command.shows]
        made = [place, str(Path(place).resolve())]
    fixed = {hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs.rglob("*") if path.is_file()}
    return _as_kept("".join(part if part.endswith("\n") else f"{part}\n" for part in parts), made, fixed)


def _run(line: str) -> tuple[object, str, str]:
    """A command in this process, as if it were the first that draws random bytes."""
    out, err = io.StringIO(), io.StringIO()
    words, counter, threshold = shlex.split(line), itertools.count(), gc.get_threshold()

    def drawn(size: int = 32) -> bytes:
        return hashlib.shake_256(b"recorded commands %d" % next(counter)).digest(size)

    with (
        mock.patch("secrets.token_bytes", drawn),
        mock.patch("onnxnnw.records.key.secrets", secrets),
        mock.patch.dict(os.environ, {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}),
        mock.patch.object(sys, "argv", ["onnxnnw", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(words)
        except SystemExit as left:
            return left.code, out.getvalue(), err.getvalue()
        finally:
            gc.set_threshold(*threshold)


PLACEHOLDERS = (
    (r'("(?:seconds\w*|time|duration_s)": )[\d.e-]+', r"\1<seconds>"),
    (r"\b[\d.,]+ (ms|s|µs)\b", r"<time> \1"),
    (r"\b\d+ drawn inputs", "<some> drawn inputs"),  # as many as a second allows
    (r"\b[\d.]+%, -?[\d.]+ dB", "<share>, <ratio> dB"),
    (r'\btime="[\d.]+"', 'time="<seconds>"'),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d| UTC)?", "<date>"),
    (r"\d{4}-\d\d-\d\d", "<date>"),
    (r'("(?:version|semanticVersion|onnx|onnxruntime|onnxruntime-extensions)": )"[\d.]+\S*"', r'\1"<version>"'),
    (r"\bthe key [0-9a-f]+…", "the key <id>"),
    (r"python -m \S*onnxnnw", "onnxnnw"),
    (r"\bonnxnnw \d+\.\d+\S*", "onnxnnw <version>"),
)
"""What differs from run to run, and what stands in its place."""


def _as_kept(text: str, made: list[str], fixed: set[str]) -> str:
    """The text with placeholders.

    Args:
        made: The folder of the run.
        fixed: Hashes that stay; others depend on the last bit of a sum.
    """
    for place in made:
        text = text.replace(place, "<folder>")
    text = re.sub(r"\b[0-9a-f]{64}\b", lambda found: found[0] if found[0] in fixed else "<sha256>", text)
    for pattern, placeholder in PLACEHOLDERS:
        text = re.sub(pattern, placeholder, text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+)(?![\w.])")


def differences(kept: str, came: str) -> Iterator[str]:
    """Lines that differ; the last digit of a number may, for processors add in their own order."""
    for number, (left, right) in enumerate(
        itertools.zip_longest(kept.splitlines(), came.splitlines(), fillvalue=""), 1
    ):
        numbers = zip(_NUMBER.findall(left), _NUMBER.findall(right), strict=False)
        if _spaced(_NUMBER.sub("#", left)) != _spaced(_NUMBER.sub("#", right)) or not all(
            _close(one, other) for one, other in numbers
        ):
            yield f"line {number}\n  kept: {left}\n  came: {right}"


def _close(left: str, right: str) -> bool:
    """Whether two numbers are equal but for their rounding."""
    decimals = max(len(one.partition("e")[0].partition(".")[2]) for one in (left, right)) if "." in left + right else 12
    return abs(float(left) - float(right)) <= 1.5 * 10.0**-decimals + 1e-4 * abs(float(left))


def _spaced(line: str) -> str:
    """Columns are as wide as their longest number."""
    return re.sub(r" {2,}", "  ", line)


def record(folder: Path = FOLDER) -> None:
    """Write the output of every command; files of commands that are no more go."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as inputs:
        make_inputs(Path(inputs))
        for command in COMMANDS:
            (folder / f"{command.name}.txt").write_text(output_of(command, Path(inputs)))
    for path in folder.glob("*.txt"):
        if path.stem not in {command.name for command in COMMANDS}:
            path.unlink()


if __name__ == "__main__":
    record()
