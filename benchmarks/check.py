"""check: many files by a policy that names many records, on all cores."""

import argparse
from pathlib import Path

from benchmarks import machine
from benchmarks.tables import Report, progress, within, workplace

LIMIT_S = 30.0


def make(folder: str, files: int, strangers: int) -> None:
    """Networks of 3 layers with a record each, and networks that nobody enrolled; called in a process of its own."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from onnxnnw.enrolment.enrol import fingerprint

    place = Path(folder)
    for name in ("files", "records", "strangers"):
        (place / name).mkdir()
    for seed in range(files + strangers):
        rng = np.random.default_rng(seed)
        weights = [numpy_helper.from_array(rng.normal(0, 0.1, (64, 64)).astype("f4"), f"w{n}") for n in range(3)]
        nodes = [helper.make_node("MatMul", [f"h{n}", f"w{n}"], [f"m{n}"]) for n in range(3)]
        nodes += [helper.make_node("Relu", [f"m{n}"], [f"h{n + 1}"]) for n in range(3)]
        nodes.sort(key=lambda node: node.output[0][1:] if node.op_type == "MatMul" else node.input[0][1:])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("h0", "h3")]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        path = place / ("files" if seed < files else "strangers") / f"{seed}.onnx"
        onnx.save(model, path)
        if seed < files:
            fingerprint(path, place / "records" / f"{seed}.record")
    for name, require in (("files", "traced"), ("strangers", "none-of")):
        entry = f'name = "all"\nfiles = ["{name}/*.onnx"]\nrecords = ["records"]\nrequire = "{require}"\n'
        (place / f"{name}.toml").write_text(f'format = "onnxnnw/policy/1"\n[[network]]\n{entry}')


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks check", description=__doc__)
    parser.add_argument("--files", type=int, default=200, help="networks, and records (default 200)")
    parser.add_argument("--strangers", type=int, default=200, help="networks that come from none of them (default 200)")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    report = Report("check", arguments)
    rows = []
    with workplace(None) as work:
        progress(f"check: {options.files} networks")
        code = f"from benchmarks.check import make; make({str(work.folder)!r}, {options.files}, {options.strangers})"
        made = machine.run(machine.python("-c", code))
        if made.code:
            raise machine.Failed(made.output)
        for name, count, what in (
            ("files", options.files, "each comes from one of the records"),
            ("strangers", options.strangers, "none-of: each is held against all"),
        ):
            done = machine.run(machine.python("-m", "onnxnnw", "check", "--policy", str(work.folder / f"{name}.toml")))
            if done.code:
                raise machine.Failed(done.output)
            budget = within(done.seconds, LIMIT_S, "s")
            size = f"{count} × {options.files}"
            rows.append((size, what, f"{done.seconds:.1f}", f"{done.cpu_seconds:.1f}", f"{done.peak_mb:.0f}", budget))
    headers = ["files × records", "", "s", "CPU s, all processes", "peak MB of the largest", "budget"]
    report.table("check by a policy of one entry", headers, rows)
    report.publish(options.output)
    return 0
