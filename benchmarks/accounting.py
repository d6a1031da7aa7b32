"""What is understood of real networks: the account of every file of a folder, and what is not covered.

    python -m tests.support.corpus CORPUS
    python -m benchmarks accounting --corpus CORPUS [--output FILE]

Nothing is modified and no weight is judged: each file is inspected once. Shares are of all that the file stores; a byte of what
is not read counts like an element.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import NodeProto

from benchmarks.tables import Report, corpus_options, progress
from onnxnnw.accounting.account import Account
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.errors import CannotLook
from onnxnnw.network_file.file import open_network

__all__ = ["STORED", "Row", "exceptions", "look", "main"]

STORED = ("weight", "parameter", "structural", "not understood", "doubtful", "dead")
COVERED = STORED[:3]
LARGE = 0.01
"""Share of a file from which on what is not covered is listed with its reason."""


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Attributes:
        file: Its name without the suffix.
        nodes: Nodes of the graph, of what stands inside it and of local functions; 0 where it could not be read.
        account: None where it could not be read.
        refused: Why.
    """

    file: str
    nodes: int = 0
    account: Account | None = None
    refused: str = ""

    def amounts(self) -> dict[str, int]:
        """Elements by class; bytes of what is not read."""
        return {name: getattr(self.account, name.replace(" ", "_")) for name in STORED}

    def total(self) -> int:
        """All that the file stores."""
        return sum(self.amounts().values())


def look(path: Path) -> Row:
    """Inspect one file."""
    try:
        account = inspect(path).account
        with open_network(path) as network:
            model = network.model
            nodes = _count(model.graph.node) + sum(_count(function.node) for function in model.functions)
    except CannotLook as error:
        return Row(path.stem, refused=str(error).replace(str(path), path.name))
    return Row(path.stem, nodes, account)


def _count(nodes: Sequence[NodeProto]) -> int:
    """Nodes, those inside of nodes too."""
    bodies = (body for node in nodes for a in node.attribute for body in ((a.g,) if a.HasField("g") else a.graphs))
    return len(nodes) + sum(_count(body.node) for body in bodies)


def exceptions(row: Row, least: float = LARGE) -> Iterator[tuple[str, str, str, float]]:
    """Class, operator, reason and share of what is not covered, the largest first; of one operator and reason together."""
    if row.account is None:
        return
    amounts: dict[tuple[str, str, str], int] = defaultdict(int)
    for entry in row.account.entries:
        kind = entry.kind.replace("_", " ")
        if kind not in COVERED:
            amounts[kind, entry.operator, entry.reason] += entry.amount
    total = max(1, row.total())
    for (kind, operator, reason), amount in sorted(amounts.items(), key=lambda item: (-item[1], item[0])):
        if amount >= least * total:
            yield kind, operator, reason, amount / total


def _cells(row: Row) -> list[str]:
    if row.account is None:
        return [row.file, *["–"] * (len(STORED) + 3), f"refused: {_plain(row.refused)}"]
    total = row.total()
    operators: dict[str, float] = defaultdict(float)
    for kind, operator, _, share in exceptions(row, 0):
        if kind == "not understood" and share:
            operators[operator] += share
    named = [f"{_plain(name)} {_share(share)}" for name, share in sorted(operators.items(), key=lambda item: -item[1])]
    shares = [_share(amount / max(1, total)) if amount else "" for amount in row.amounts().values()]
    given = f"{row.account.given:,}" if row.account.given else ""
    return [row.file, f"{row.nodes:,}", f"{total:,}", *shares, given, ", ".join(named)]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


def _plain(text: str) -> str:
    """Text of a file as one cell of a table."""
    return " ".join(text.replace("|", "/").split())[:200]


def main(arguments: list[str]) -> int:
    """Inspect and print the tables."""
    options = corpus_options("accounting", __doc__, arguments)
    report = Report("accounting", arguments, command="python -m benchmarks accounting --corpus CORPUS")
    rows = []
    for path in sorted(options.corpus.rglob("*.onnx")):
        progress(f"accounting: {path.stem}")
        rows.append(look(path))
    read = [row for row in rows if row.account is not None]
    covered = sum(row.amounts()[name] for row in read for name in COVERED)
    total = sum(row.total() for row in read)
    large = [(row.file, *found) for row in read for found in exceptions(row)]
    report.say(
        f"{len(rows)} files, {len(rows) - len(read)} refused; {_share(covered / max(1, total))} of {total:,} elements are "
        f"weights, parameters or structural; in {len({file for file, *_ in large})} files more than "
        f"{LARGE:.0%} is something else."
    )
    headers = ["file", "nodes", "stored", *STORED, "given, elements", "operators that are not understood"]
    report.table("Share of each class", headers, map(_cells, rows))
    listed = [(file, kind, _plain(operator), _plain(why), _share(share)) for file, kind, operator, why, share in large]
    report.table(
        f"What is no weight, parameter or structure, from {LARGE:.0%} of a file",
        ["file", "class", "operator", "reason", "share"],
        listed,
    )
    report.publish(options.output)
    return 0
