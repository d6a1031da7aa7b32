"""Training checkpoints: written atomically, and read without running any code in them."""

import copy
import io
from pathlib import Path
from typing import Any

from onnxnnw.errors import CannotLook, UnreadableData
from onnxnnw.files import open_regular
from onnxnnw.network_file.writing import write_whole

__all__ = ["CHECKPOINT_FORMAT", "load_checkpoint", "load_module", "save_checkpoint"]

CHECKPOINT_FORMAT = "onnxnnw/checkpoint/1"
MAX_BYTES = 64 * 2**30


def load_module(module: Any, checkpoint: Path) -> Any:
    """A copy of the module with the weights that a checkpoint holds, in evaluation mode.

    Raises:
        UnreadableData: The checkpoint is damaged, or of another network.
    """
    changed = copy.deepcopy(module)
    try:
        changed.load_state_dict(load_checkpoint(checkpoint)["state"]["module"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UnreadableData(f"{checkpoint} does not fit this network: {_first_line(error)}") from error
    return changed.eval()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote.

    Raises:
        UnreadableData: The file is damaged or no checkpoint of this version.
    """
    import torch

    try:
        with open_regular(path, UnreadableData, MAX_BYTES) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except UnreadableData:
        raise
    except Exception as error:  # torch and zipfile raise many kinds for a damaged file
        raise UnreadableData(f"{path} is not a readable checkpoint: {_first_line(error)}") from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise UnreadableData(f"{path} is not a checkpoint of this version ({CHECKPOINT_FORMAT})")
    return state


def save_checkpoint(state: dict[str, Any], paths: list[Path]) -> None:
    """Write a state, to one place after the other; each holds the old state or the new one at any time.

    Raises:
        CannotLook: The disk is full or not writable.
    """
    import torch

    buffer = io.BytesIO()  # so that a full disk is an OSError of ours, not whatever torch makes of it
    torch.save({"format": CHECKPOINT_FORMAT, **state}, buffer)
    for path in paths:
        try:
            write_whole(path, buffer.getbuffer())
        except OSError as error:
            raise CannotLook(
                f"cannot write the checkpoint {path}: {error.strerror}; the last good one, if any, is intact"
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
