"""A folder of results as a campaign would leave it, made from a seed: M = 2 networks, D = 3 payloads, every study."""

import gzip
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

M, D = 2, 3
KEYS = 100
"""Wrong keys per modification."""
RATE = 1e-6
ENVIRONMENT = {
    "hardware": "2 cores, a machine that never was",
    "python": "3.11.7",
    "numpy": "2.0.0",
    "onnxnnw": "0.1.0",
}

MODIFICATIONS = {
    "gaussian-noise": ("ratio", (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)),
    "fine-tuning": ("epochs", (1, 3, 5)),
    "quantization": ("bits", (16, 8, 6, 4, 2)),
    "magnitude-pruning": ("percentage", (10, 20, 50, 80, 90)),
    "watermark-overwriting": ("marks", (1, 2, 3, 4)),
    "global-magnitude-pruning": ("percentage", (50, 90)),
}

MARKS: tuple[tuple[str, str, dict[str, float], str, str], ...] = (
    ("nct", "watermark", {"alpha": 0, "N": 512}, "resnet8", "NCT at the start"),
    ("nct", "watermark", {"alpha": 90, "N": 512}, "resnet8", "NCT at the end"),
    ("nct", "watermark", {"alpha": 90, "N": 16144}, "resnet8", "NCT at the end"),
    ("rtw", "watermark", {"lambda": 0.01}, "resnet8", "RTW"),
    ("rtw", "watermark", {"lambda": 0.001}, "resnet8", "RTW"),
    ("tbw", "watermark", {"rho": 10}, "resnet8", "TBW"),
    ("spread", "watermark", {"gain": 2}, "resnet8", "a method of tomorrow"),
    ("nct", "fingerprint", {}, "resnet8", "fingerprints"),
)


def line(study: str, number: int, **fields: Any) -> dict[str, Any]:
    """A trial with what all have."""
    return {
        "format": "onnxnnw/trial/1",
        "trial": f"{study.replace(' ', '-')}-{number:05}",
        "study": study,
        "network": "resnet8",
        "size": "reference",
        "model": 0,
        "payload": 0,
        "seeds": {"network": 0, "key": 987654321987},
        "environment": ENVIRONMENT,
        "cost": {},
        **fields,
    }


def mark(
    method: str = "nct", kind: str = "watermark", published: dict[str, float] | None = None, block: str = "block"
) -> dict[str, Any]:
    """What a trial says of a mark."""
    return {
        "method": method,
        "kind": kind,
        "published": {"alpha": 90, "N": 512} if published is None else published,
        "parameters": {"strength": 1.0, "secret": "5ec4e7" * 8},
        "symbols": 512,
        "block": block,
    }


def verdict(log10_p: float, values: dict[str, float], retrieved: bool, errors: int | None = None) -> dict[str, Any]:
    """What verification said, at the rate of one in a million."""
    return {
        "decision": "traced" if log10_p <= math.log10(RATE) else "not traced",
        "log10_p": log10_p,
        "rate": RATE,
        "effect": round(min(1.0, -log10_p / 60), 4),
        "coverage": 1.0,
        "retrieved": retrieved,
        "values": values,
        "symbols": 64,
        "errors": errors,
    }


def answer(method: str, health: float, rng: np.random.Generator) -> dict[str, Any]:
    """A verdict on a mark of which ``health`` (0 … 1) is left."""
    health = float(np.clip(health + rng.normal(0, 0.01), 0, 1))
    if method == "rtw":
        errors = int(rng.binomial(64, (1 - health) / 2))
        return verdict(-19.3 * health - 0.01, {"ber": errors / 64}, errors == 0, errors)
    if method == "tbw":
        percent = float(rng.binomial(100, 0.1 + 0.9 * health))
        return verdict(-90 * health - 0.01, {"percent": percent}, percent > 40, 100 - int(percent))
    if method == "spread":
        errors = int(rng.binomial(64, (1 - health) / 2))
        return verdict(-30 * health - 0.01, {"likelihood": 12 * health}, errors < 8, errors)
    values = {"spearman": round(health * 0.98, 4), "pearson": round(health, 4), "log10_p": -100 * health}
    return verdict(-100 * health - 0.01, values, health > 0.09)


def absent(method: str, rng: np.random.Generator) -> dict[str, Any]:
    """A verdict on a mark that is not there: p is uniform."""
    p = float(rng.uniform(1e-6, 1))
    values = {
        "rtw": {"ber": 0.5},
        "tbw": {"percent": 10.0},
        "spread": {"likelihood": 0.0},
        "nct": {"spearman": 0.0, "pearson": 0.01},
    }
    return verdict(math.log10(p), values[method], p < 0.025)


def detections(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Marked and unmarked networks under every modification, and wrong keys."""
    number, wrong = 0, 0
    for method, kind, published, network, block in MARKS:
        own = mark(method, kind, published, block)
        for name, parameter, value, strength in all_modifications():
            if method != "nct" and name in ("fine-tuning", "magnitude-pruning"):
                continue
            at = None if name is None else {"name": name, "parameter": parameter, "value": value}
            for model in range(M):
                unmarked = 12.0 + model
                for truth, payload in [(t, d) for t in (True, False) for d in range(D)]:
                    before = unmarked * (1 + (0.05 + 0.01 * payload) * truth * (kind == "watermark"))
                    after = min(90.0, before * (1 + 6 * max(0.0, strength - 0.3) ** 2))
                    said = answer(method, 1 - 0.9 * strength**2, rng) if truth else absent(method, rng)
                    yield line(
                        "detection",
                        number,
                        network=network,
                        model=model,
                        payload=payload,
                        truth=truth,
                        mark=own,
                        modification=at,
                        quality=quality(after),
                        unmodified=None if at is None else quality(before),
                        unmarked=quality(unmarked) if truth or at else None,
                        verdict=said,
                        cost={"verify_seconds": 0.05, "modify_seconds": 0.2, "measure_seconds": 3.0},
                    )
                    number += 1
            if name in (None, "gaussian-noise") and strength in (0.0, 0.6):
                for key in range(KEYS):
                    yield line(
                        "wrong key",
                        wrong,
                        network=network,
                        mark=own,
                        modification=at,
                        key=key,
                        verdict=absent(method, rng),
                        cost={"verify_seconds": 0.04},
                    )
                    wrong += 1


def quality(error: float) -> dict[str, float]:
    """Of a classifier."""
    return {"classification-error": round(error, 3), "top1": round(100 - error, 3)}


def all_modifications() -> Iterable[tuple[str | None, str | None, float | None, float]]:
    """(Name, parameter, value, strength from 0 to 1), unmodified first."""
    yield None, None, None, 0.0
    for name, (parameter, values) in MODIFICATIONS.items():
        for place, value in enumerate(values):
            yield name, parameter, value, round((place + 1) / len(values) * 0.9, 6)


def other_studies(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Unicity, search, Figures 4 and 5, injection and retrieval."""
    number = 0
    finger = mark("nct", "fingerprint", {}, "fingerprints")
    for record, key, candidate in [(i, k, j) for i in range(4) for k in range(2) for j in range(4)]:
        said = answer("nct", 0.99, rng) if record == candidate else absent("nct", rng)
        place = {
            "record": {"model": record, "key": key},
            "candidate": {"model": candidate},
            "truth": record == candidate,
        }
        yield line("unicity", number, mark=finger, verdict=said, **place)
        number += 1
    for records, model in [(r, m) for r in (1, 10, 100) for m in range(M)]:
        said = answer("nct", 0.99, rng)
        yield line(
            "search", number, mark=finger, model=model, records=records, right=True, verdict=said,
            cost={"seconds_per_record": 0.002 + 0.05 / records},
        )  # fmt: skip
        number += 1
    roles = ("Architect", "Trainer", "Tracker", "Distributor", "Generic user")
    written = [(early, r, s) for early in (False, True) for r in enumerate(roles, 1) for s in np.linspace(0, 1, 11)]
    for early, (place, role), share in written:
        left = float(np.clip((0.75 if early else 1) * (1 - share) + rng.normal(0, 0.02), -0.05, 1))
        yield line(
            "sharing",
            number,
            mark={"number": place, "role": role, "N": 512, **({"alpha": 0} if early else {})},
            share=round(float(share), 3),
            verdict={"values": {"spearman": round(left, 4), "pearson": round(left, 4)}, "retrieved": left > 0.087},
        )
        number += 1
    for N in (64, 256, 1024, 4096, 16384):
        cost = {"insertion_seconds": 1e-4 + 2e-7 * N, "detection_seconds": 2e-4 + 3e-8 * N * math.log2(N), "repeats": 5}
        yield line("scaling", number, N=N, cost=cost)
        number += 1
    for (method, kind, published, network, block), model in [(m, i) for m in MARKS[:-1] for i in range(M)]:
        plain = 0.0500 + 0.001 * model
        slower = {"nct": 1.0, "rtw": 1.17, "tbw": 1.6, "spread": 1.3}[method]
        yield line(
            "injection",
            number,
            network=network,
            model=model,
            mark=mark(method, kind, published, block),
            iterations={"nct": 0, "rtw": 480 + model, "tbw": 510, "spread": None}[method],
            cost={
                "seconds_per_batch": plain * slower,
                "unmarked_seconds_per_batch": plain,
                "peak_memory_bytes": 512_000_000,
                "unmarked_peak_memory_bytes": 500_000_000,
                "inference_seconds": 0.0021,
                "unmarked_inference_seconds": 0.002,
                "pairs": 5,
                "increase_percent": (slower - 1) * 100,
            },
        )
        number += 1
        cost = {"seconds": 0.03 + 0.002 * model, "command_seconds": 0.4, "memory_bytes": 61_000_000 + model}
        yield line(
            "retrieval", number, network=network, model=model, mark=mark(method, kind, published, block), cost=cost
        )
        number += 1


def head(**changed: Any) -> dict[str, Any]:
    """results.json."""
    return {
        "format": "onnxnnw/results/1",
        "name": "made",
        "campaign": {"models": M, "payloads": D, "secret": "5ec4e7" * 8},
        "cuts": [{"tables": [5, 7, 9, 11], "sentence": "Two networks and 12 epochs instead of 100."}],
        "environment": ENVIRONMENT,
        "date": "2026-11-24",
        "steps": {"count": 812, "seconds": 5400.0, "overhead_seconds": 31.0, "failed": []},
        **changed,
    }


def write(folder: Path, lines: Iterable[dict[str, Any]], packed: bool = False, **changed: Any) -> Path:
    """A folder of results with these trials."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(head(**changed)))
    content = "".join(json.dumps(one) + "\n" for one in lines).encode()
    if packed:
        (folder / "trials.jsonl.gz").write_bytes(gzip.compress(content))
    else:
        (folder / "trials.jsonl").write_bytes(content)
    return folder


def make(folder: Path, packed: bool = False, seed: int = 1) -> Path:
    """A whole campaign."""
    rng = np.random.default_rng(seed)
    return write(folder, [*detections(rng), *other_studies(rng)], packed)
