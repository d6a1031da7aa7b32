"""A language model's decoder as onnxruntime-genai's builder makes it offline: what is read of it, and marks and fingerprints in it.

    python -m venv builder && builder/bin/pip install torch transformers onnxruntime-genai onnx_ir
    python -m benchmarks decoder --builder builder/bin/python [--output FILE]

The checkpoint is a small Llama with random weights (grouped queries, four layers), written on the spot; nothing is downloaded. The
builder writes it in float32 and in four bits; the marked float32 file also goes through onnxruntime's own four-bit quantiser.
"""

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import onnx

from benchmarks.pipeline_networks import quiet
from benchmarks.tables import Report, progress, workplace
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.verification.verify import verify

__all__ = ["main"]

_CHECKPOINT = """
import sys, torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
torch.manual_seed(int(sys.argv[2]))
config = LlamaConfig(vocab_size=1000, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=8,
    num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(1000)}, unk_token="w3"))
PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2", pad_token="w0", unk_token="w3").save_pretrained(
    sys.argv[1])
"""

_FORMS = ("fp32", "int4")


def _build(builder: str, place: Path, seed: int) -> dict[str, Path]:
    """The decoder in each form, of a checkpoint with this seed.

    Raises:
        SystemExit: The interpreter lacks a package that the builder needs; with its own words.
    """
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    checkpoint = place / f"checkpoint-{seed}"

    def run(*arguments: str) -> None:
        done = subprocess.run([builder, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{builder}: {done.stderr.strip().splitlines()[-1]}")

    run("-c", _CHECKPOINT, str(checkpoint), str(seed))
    out = {}
    for form in _FORMS:
        progress(f"decoder: seed {seed}, {form}")
        folder = place / f"{form}-{seed}"
        run("-m", "onnxruntime_genai.models.builder", "-m", str(checkpoint), "-o", str(folder), "-p", form, "-e", "cpu",
            "-c", str(place / "cache"))  # fmt: skip
        out[form] = folder / "model.onnx"
    return out


def _four_bits(source: Path, target: Path) -> Path:
    """Through onnxruntime's quantiser of MatMul weights, in blocks of 32."""
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    with quiet():
        quantiser = nbits.MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True, accuracy_level=4)
        quantiser.process()
    target.parent.mkdir()
    onnx.save(quantiser.model.model, target)
    return target


def _seen(files: dict[str, Path]) -> Iterator[list[str]]:
    for form, path in files.items():
        looked = inspect(path)
        account = looked.account
        known = account.weight + account.parameter + account.structural
        total = known + account.not_understood + account.doubtful + account.dead
        operators = sorted({node.op_type for node in onnx.load(path, load_external_data=False).graph.node})
        yield [form, f"{len(looked.weights)}", f"{account.weight:,}", f"{known / total:.2%}", ", ".join(operators)]


def _verdicts(candidates: dict[str, Path], records: dict[str, Path]) -> Iterator[list[str]]:
    for name, candidate in candidates.items():
        verdicts = [verify(candidate, path)[0] for path in records.values()]
        yield [name, *(f"{verdict.decision}, {verdict.log10_p:.1f}" for verdict in verdicts)]


def main(arguments: list[str]) -> int:
    """Build, enrol, verify and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks decoder", description=__doc__)
    parser.add_argument("--builder", required=True, help="a Python interpreter with onnxruntime-genai and transformers")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    report = Report("decoder", arguments, command="python -m benchmarks decoder --builder PYTHON")
    with workplace(None) as work, work.room("decoder", 10**9) as place:
        assert place is not None
        own, stranger = _build(options.builder, place, 0), _build(options.builder, place, 1)
        candidates, records = dict(own), dict[str, Path]()
        for form in _FORMS:
            marked = place / f"marked-{form}" / "model.onnx"
            marked.parent.mkdir()
            records[f"mark in {form}"] = place / f"{form}.mark"
            records[f"fingerprint of {form}"] = place / f"{form}.fingerprint"
            embed(own[form], marked, records[f"mark in {form}"])
            fingerprint(own[form], records[f"fingerprint of {form}"])
            candidates[f"{form}, marked"] = marked
        marked = candidates["fp32, marked"]
        candidates["fp32, marked, then four bits"] = _four_bits(marked, place / "quantised" / "model.onnx")
        candidates |= {f"another decoder, {form}": path for form, path in stranger.items()}
        report.table("What is read", ["form", "weights", "elements", "read or known", "operators"], _seen(own))
        report.table("Decision and log10 p", ["candidate", *records], _verdicts(candidates, records))
    report.publish(options.output)
    return 0
