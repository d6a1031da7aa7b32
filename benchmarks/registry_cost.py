"""What a candidate costs against a registry of many records, and what adding costs: processes of their own, by turns.

    python -m benchmarks registry_cost FOLDER --limit 2 [--repeats 3] [--again 10] [--output FILE]
    python -m benchmarks registry_cost --adding [--records 2000]

FOLDER was made by ``python -m benchmarks registry --make…``. Beside the candidates run the start alone (the same imports, the
registry opened), a NumPy scan of as many vectors of 512 numbers, and a measurement of the memory's bandwidth.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.machine import Contender, Measured, compare, python
from benchmarks.tables import Report, progress, within

__all__ = ["main"]

FORMS = ("as it left", "renamed", "int8", "folded")
LINE = 64
"""Bytes that a processor reads for one weight where weights, a byte each, do not lie in its cache."""

IN_CACHE = 2**20


def child(kind: str, folder: Path, candidate: Path, again: int) -> None:
    """One contender, in its own process: what it found, as JSON."""
    import resource

    from benchmarks.registry_made import opened
    from onnxnnw.registry import scan as scanning
    from onnxnnw.registry.search import search_registry

    if kind in ("vectors", "bandwidth"):
        print(json.dumps(_vectors(again) if kind == "vectors" else _bandwidth()))
        return
    registry = opened(folder)
    registry.drafted = True
    if kind == "start":
        print(json.dumps({"records": len(registry)}))
        return
    pages_of = scanning.pages_of
    if again > 1:
        scanning.pages_of = lambda registry, group: pages_of(registry, group) * again
    found = search_registry(candidate, registry)
    own, others = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    best = found.search.best
    print(
        json.dumps(
            {
                "looked_at": found.looked_at,
                "passed": found.passed,
                "found": best.decision == "traced" and int(found.entries[0].commitment, 16) == registry.known[0],
                "log10_p": best.log10_p,
                "together_mb": own + scanning.WORKERS * others,
            }
        )
    )


def _vectors(records: int) -> dict[str, float]:
    """Seconds of an exact scan of so many vectors of 512 float32 for the best 20, in parts that are there already."""
    import numpy as np

    part = min(records, 100_000)
    several = np.random.default_rng(0).standard_normal((part, 512), dtype=np.float32)
    query = several[1234] + np.float32(0.5)
    start = time.perf_counter(), time.process_time()
    for _ in range(0, records, part):
        z = several @ query
        np.argpartition(z, -20)[-20:]
    return {"seconds": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}


def _bandwidth() -> dict[str, float]:
    """Bytes a second of two threads that read memory."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    several = [np.ones(2**25, np.int64) for _ in range(2)]  # 256 MiB each
    times = []
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            start = time.perf_counter()
            list(threads.map(np.max, several))
            times.append(time.perf_counter() - start)
    return {"bytes": 2 * 2**28 / min(times)}


def candidates_of(folder: Path) -> dict[str, Path]:
    """The candidate of a folder in each of its forms."""
    from benchmarks.registry_made import changed

    out = {"as it left": folder / "candidate.onnx"}
    for form in FORMS[1:]:
        out[form] = folder / f"{form}.onnx"
        if not out[form].exists():
            changed(folder / "candidate.onnx", out[form], form)
    return out


def search_costs(options: argparse.Namespace, arguments: list[str]) -> int:
    """The table of one registry; 1 where a limit is missed or the record was not found."""
    folder: Path = options.folder
    report = Report("registry_cost", arguments[1:], options.section, command=options.command)

    def own(kind: str, candidate: Path = folder, again: int = options.again) -> list[str]:
        run = ["-m", "benchmarks", "registry_cost", str(folder), "--child", kind, "--candidate", str(candidate)]
        return python(*run, "--again", str(again))

    forms = {name: folder / f"{name}.onnx" for name in FORMS[1:]} | {"as it left": folder / "candidate.onnx"}
    chosen = {form: forms[form] for form in FORMS if form in options.forms.split(",")}
    records = json.loads(_output(compare([Contender("start", own("start"))], 0)["start"]))["records"] * options.again
    contenders = [
        Contender("start", own("start")),
        *(Contender(form, own("search", path)) for form, path in chosen.items()),
        Contender("vectors", own("vectors", again=records)),
        Contender("bandwidth", own("bandwidth")),
    ]
    progress(f"{len(contenders)} contenders, {options.repeats} rounds")
    runs = compare(contenders, options.repeats)
    start, rows, missed = runs["start"], [], False
    bandwidth = json.loads(_output(runs["bandwidth"]))["bytes"]
    for form in chosen:
        run = runs[form]
        said = json.loads(_output(run))
        limit = options.limit if form == "as it left" else 2 * options.limit
        line = LINE if options.weights > IN_CACHE else 0
        touched = said["looked_at"] * (648 + 64 * line) + said["passed"] * (2560 + 512 * line)
        over = run.seconds - start.seconds
        rows.append(
            (
                form,
                f"{over:.2f} s",
                f"{run.cpu_seconds - start.cpu_seconds:.2f} s",
                f"{run.peak_mb:.0f} MB, {said['together_mb']:.0f} MB",
                f"{said['passed']:,}",
                f"{'first' if said['found'] else '**not found**'}, log10 p {said['log10_p']:.0f}",
                f"{touched / bandwidth:.2f} s",
                within(over, limit, "s"),
            )
        )
        missed = missed or over > limit or not said["found"]
    headers = ["candidate", "clock over the start", "processor", "peak of one process, of all", "passed the screen"]
    headers += ["its record", "physical limit", "limit"]
    report.table(f"{records:,} records, {options.what}", headers, rows)
    vectors = json.loads(_output(runs["vectors"]))
    report.say(
        f"The start alone: {start.seconds:.2f} s, {start.cpu_seconds:.2f} s of processor time, {start.peak_mb:.0f} MB. "
        f"A NumPy scan of {records:,} vectors of 512 float32 that are in memory already: {vectors['seconds']:.2f} s, "
        f"{vectors['cpu']:.2f} s of processor time. Memory is read with {bandwidth / 1e9:.1f} GB/s by two threads."
    )
    report.publish(options.output)
    return int(missed)


def _output(run: Measured) -> str:
    return run.output.strip().splitlines()[-1]


def adding(options: argparse.Namespace, arguments: list[str]) -> int:
    """The table of adding: many records at once, and one after the other; 1 where a limit is missed."""
    from benchmarks.registry_made import MODEL, key_of
    from onnxnnw.enrolment.enrol import embed
    from onnxnnw.records.record_file import load_record
    from onnxnnw.registry.log.kept import append
    from onnxnnw.registry.store import Registry

    report = Report("registry_cost", arguments)
    bulk, single, folder_disk = [], [], []
    with tempfile.TemporaryDirectory(dir=options.place) as name:
        folder = Path(name)
        embed(MODEL, folder / "m.onnx", folder / "m.record")
        template = load_record(folder / "m.record")
        for round_ in range(options.repeats):
            first = round_ * 10**6
            contents = [template.with_key(key_of(first + k)).to_bytes() for k in range(options.records + 100)]
            with Registry(folder / f"{round_}.db", create=True, logged=append) as registry:
                start = time.perf_counter(), time.process_time()
                for k in range(0, options.records, 512):
                    registry.add(contents[k : min(k + 512, options.records)])
                bulk.append((time.perf_counter() - start[0], time.process_time() - start[1]))
                for content in contents[options.records :]:
                    start = time.perf_counter(), time.process_time()
                    registry.add([content])
                    single.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            folder_disk.append(_synced(folder / "bytes", contents[0]))
    wall, cpu = (sorted(one[k] for one in bulk)[len(bulk) // 2] for k in (0, 1))
    one, one_cpu = (sorted(each[k] for each in single)[len(single) // 2] for k in (0, 1))
    rows = [
        ("in bulk", f"{options.records / wall:.0f} records/s", f"{1000 * cpu / options.records:.2f} ms a record"),
        ("one durable add", f"{1000 * one:.1f} ms", f"{1000 * one_cpu:.1f} ms"),
        (
            "a file of such a record written and synced",
            f"{1000 * sorted(folder_disk)[len(folder_disk) // 2]:.1f} ms",
            "",
        ),
    ]
    report.table(f"Adding to SQLite, {options.repeats} rounds", ["", "clock", "processor"], rows)
    report.say(
        f"At least 300 records/s: {'holds' if options.records / wall >= 300 else '**missed**'}. "
        f"One durable add: {within(1000 * one, 30, 'ms')}."
    )
    report.publish(options.output)
    return int(options.records / wall < 300 or one > 0.03)


def _synced(path: Path, content: bytes) -> float:
    import os

    start = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def main(arguments: list[str]) -> int:
    """Measure one registry, or adding."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry_cost", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--what", default="watermarks of one network", help="for the title")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds over the start; twice that for changed forms")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--again", type=int, default=1, help="every page is scanned so often")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--weights", type=int, default=80_000, help="of the network: what memory is read for them")
    parser.add_argument("--adding", action="store_true")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--place", type=Path, help="where registries are made for adding")
    parser.add_argument("--section", default="registry_cost")
    parser.add_argument("--command", default="")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--prepare", action="store_true", help="only make the changed candidates")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--candidate", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.adding:
        return adding(options, arguments)
    if options.child:
        child(options.child, options.folder, options.candidate, options.again)
        return 0
    if options.prepare:
        candidates_of(options.folder)
        return 0
    return search_costs(options, arguments)
