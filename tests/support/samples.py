"""Inputs as these networks expect them: rendered text and pages, bytes of source files."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = (
    "the quick brown fox jumps over a lazy dog while seven wizards brew ancient potions near quiet rivers invoice "
    "total amount 1234 date 2026 page report signed network origin proof weight"
).split()


def samples_for(name: str, rng: np.random.Generator) -> np.ndarray:
    """A batch for one of the networks of ``packages.PACKAGES``."""
    if name.startswith("magika"):
        return file_bytes()
    if "orientation" in name:
        return pages(224, 64, rng, turned=True)
    if name.endswith("cls"):
        width, height = (160, 80) if name.startswith("ocrspine") else (192, 48)
        return lines(width, height, 64, rng, turned=True)
    return pages(320, 6, rng) if name.endswith("det") else lines(320, 48, 24, rng)


def lines(width: int, height: int, count: int, rng: np.random.Generator, turned: bool = False) -> np.ndarray:
    """Dark text that fills its picture, on a light ground, one line a picture, optionally upside down; scaled to -1 … 1."""
    out = []
    for _ in range(count):
        image = Image.new("RGB", (width, height), tuple(rng.integers(200, 256, 3).tolist()))
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(height * 0.7)
        ink, text = tuple(rng.integers(0, 80, 3).tolist()), str(rng.choice(WORDS))
        while draw.textlength(longer := f"{text} {rng.choice(WORDS)}", font=font) < width - 8:
            text = longer
        draw.text((4, height / 2), text, fill=ink, font=font, anchor="lm")
        image = image.rotate(180 * int(rng.integers(2))) if turned else image
        out.append(np.asarray(image, np.float32) / 127.5 - 1)
    return np.ascontiguousarray(np.stack(out).transpose(0, 3, 1, 2))


def pages(side: int, count: int, rng: np.random.Generator, turned: bool = False) -> np.ndarray:
    """Pages of text, optionally turned by quarters; scaled by ImageNet's mean and deviation."""
    out = []
    for _ in range(count):
        image = Image.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(image)
        size = int(rng.integers(max(8, side // 22), side // 12))
        for top in range(8, side - size, int(size * 1.5)):
            draw.text((8, top), " ".join(rng.choice(WORDS, 6)), fill="black", font=ImageFont.load_default(size))
        image = image.rotate(90 * int(rng.integers(4))) if turned else image
        out.append((np.asarray(image, np.float64) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    return np.ascontiguousarray(np.stack(out).transpose(0, 3, 1, 2).astype(np.float32))


def file_bytes() -> np.ndarray:
    """First and last 1,024 bytes of this project's files, 256 where there are none."""
    root = Path(__file__).parents[2]
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".md", ".toml", ".json", ".txt"))
    out = np.full((min(64, len(files)), 2048), 256, np.int32)
    for row, path in zip(out, files, strict=False):
        head, tail = (np.frombuffer(part, np.uint8) for part in (path.read_bytes()[:1024], path.read_bytes()[-1024:]))
        row[: head.size], row[2048 - tail.size :] = head, tail
    return out
