"""A PyTorch network's safetensors file and the ONNX files that were made of it: traced both ways, strangers not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify

torch = pytest.importorskip("torch")


def network(seed: int) -> Any:
    """Convolutions with normalisations, a transposed one's place taken by a grouped one, attention-like products, a head."""
    nn = torch.nn

    class Small(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
            self.grouped = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=4), nn.BatchNorm2d(32), nn.ReLU())
            self.down = nn.Conv2d(32, 48, 3, stride=2)
            self.norm = nn.LayerNorm(48)
            self.wide, self.back = nn.Linear(48, 96), nn.Linear(96, 48)
            self.head = nn.Linear(48, 10)

        def forward(self, x: Any) -> Any:
            x = self.down(self.grouped(self.stem(x))).flatten(2).transpose(1, 2)
            x = x + self.back(torch.nn.functional.gelu(self.wide(self.norm(x))))
            return self.head(x.mean(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Small()
        for name, value in made.state_dict().items():
            if name.endswith(("running_var", "1.weight", "norm.weight")):
                value.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "1.bias", "norm.bias")):
                value.normal_(0, 0.2)
    return made.eval()


def exported(module: Any, path: Path, **options: Any) -> Path:
    """An export with torch's older exporter or the one of today."""
    torch.onnx.export(
        module, (torch.randn(1, 3, 16, 16),), str(path), **{"dynamo": False, "opset_version": 17, **options}
    )
    return path


def half(path: Path, out: Path) -> Path:
    """All weights in float16."""
    import onnx
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(path)), out)
    return out


def dynamic(path: Path, out: Path) -> Path:
    """Eight bits per channel, onnxruntime's dynamic quantiser."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(path, out, per_channel=True)
    return out


def simplified(path: Path, out: Path) -> Path:
    """Folded and renamed by onnxslim."""
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(path)), out)
    return out


def static(path: Path, out: Path) -> Path:
    """Eight bits with scales from samples, as QuantizeLinear and DequantizeLinear."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [torch.randn(1, 3, 16, 16).numpy() for _ in range(4)]

        def get_next(self) -> Any:
            import onnx

            name = onnx.load(path).graph.input[0].name
            return {name: self.left.pop()} if self.left else None

    quantize_static(path, out, Samples(), per_channel=True)
    return out


def deployed(path: Path, out: Path) -> Path:
    """In onnxruntime's own format, fused; not blocked for a processor, from which plain weights are not found again."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return out


WAYS: dict[str, Callable[[Any, Path], Path]] = {
    "folded": lambda module, folder: exported(module, folder / "m.onnx"),
    "not folded": lambda module, folder: exported(
        module, folder / "m.onnx", do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE
    ),
    "older operators": lambda module, folder: exported(module, folder / "m.onnx", opset_version=13),
    "today's exporter": lambda module, folder: exported(module, folder / "m.onnx", dynamo=True, opset_version=18),
    "today's exporter, traced before": lambda module, folder: exported(
        torch.export.export(module, (torch.randn(1, 3, 16, 16),)), folder / "m.onnx", dynamo=True, opset_version=20
    ),
    "float16": lambda module, folder: half(exported(module, folder / "a.onnx"), folder / "m.onnx"),
    "int8": lambda module, folder: dynamic(exported(module, folder / "a.onnx"), folder / "m.onnx"),
    "static int8": lambda module, folder: static(exported(module, folder / "a.onnx"), folder / "m.onnx"),
    "onnxruntime's own": lambda module, folder: deployed(exported(module, folder / "a.onnx"), folder / "m.ort"),
    "int8 in onnxruntime's own": lambda module, folder: deployed(
        dynamic(exported(module, folder / "a.onnx"), folder / "b.onnx"), folder / "m.ort"
    ),
    "slimmed": lambda module, folder: simplified(exported(module, folder / "a.onnx"), folder / "m.onnx"),
}


def weights(module: Any, path: Path) -> Path:
    """The module's own file."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_exports_are_traced_to_their_weights_and_back(way: str, tmp_path: Path) -> None:
    """Five exports, and what tools make of them."""
    module = network(1)
    source, made = weights(module, tmp_path / "m.safetensors"), WAYS[way](module, tmp_path)
    stranger = weights(network(2), tmp_path / "s.safetensors")
    for enrolled, candidate in ((source, made), (made, source)):
        record = tmp_path / f"{enrolled.name}.record"
        fingerprint(enrolled, record)
        loaded = load_record(record)
        assert verify(candidate, [loaded])[0].decision == "traced"
        assert verify(stranger, [loaded])[0].decision != "traced"


@pytest.mark.slow
def test_a_marked_export_is_traced_in_its_weights(tmp_path: Path) -> None:
    """A watermark in an ONNX file, loaded back into PyTorch by name and saved there."""
    import onnx

    module = network(1)
    path = exported(module, tmp_path / "m.onnx", do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)
    embed(path, tmp_path / "marked.onnx", tmp_path / "w.record", 400)
    stored = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "marked.onnx").graph.initializer
    }
    state = module.state_dict()
    loaded = {name: torch.from_numpy(stored[name].copy()) for name in state if name in stored}
    assert len(loaded) > 10
    module.load_state_dict(loaded, strict=False)
    record = load_record(tmp_path / "w.record")
    assert verify(weights(module, tmp_path / "m.safetensors"), [record])[0].decision == "traced"
    assert verify(weights(network(1), tmp_path / "n.safetensors"), [record])[0].decision != "traced"
