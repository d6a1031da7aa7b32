"""How the golden files were made: ``python -m tests.support.golden FOLDER``. They are never made again.

The network's values come from a key stream, not from a library's generator, so anybody can make the same bytes.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.method_mark import complete_record
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.recipients import owner_secret
from onnxnnw.enrolment.recipients.embedding import embed_for_recipients
from onnxnnw.enrolment.recipients.recipient_list import recipients_of
from onnxnnw.graph.digest import network_digest
from onnxnnw.methods.rtw import RtwInsertion
from onnxnnw.methods.tbw import TbwInsertion
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import save_record
from tests.support import calibration_networks as networks
from tests.support import marks

SECRETS = {"network": b"golden network, format 1, public", "mark": b"golden mark, format 1, all public"[:32]}
SECRETS["added"] = b"golden mark, format 2, public..."
SECRETS["owner"] = b"golden owner of copies, public.."
SECRETS["trace"] = b"golden fingerprint, 1, public..."


def shape_of(name: str) -> tuple[int, ...]:
    """ResNet8 at half its width."""
    return tuple(n // 2 if n % 16 == 0 else n for n in networks.SHAPES[name])


def weights(secret: bytes = SECRETS["network"]) -> networks.Weights:
    """Normal weights in rows of different size."""
    out = {}
    for name in networks.SHAPES:
        shape = shape_of(name)
        z = Key(secret).stream(name, bytes(32)).normals(int(np.prod(shape))).reshape(shape[0], -1)
        gains = 0.5 + np.arange(shape[0]) % 5
        out[name] = (z * gains[:, None] / 16).astype(np.float32).reshape(shape)
    return out


def main(folder: Path) -> None:
    """Network, marked copy, and both records."""
    network = networks.save(weights(), folder / "network.onnx")
    owner = Owner("Golden Tracker", "Tracker", "source 1", "destination 2")
    mark = folder / "marked.onnx", folder / "mark-1.json"
    embed(network, *mark, 256, owner=owner, key=Key(SECRETS["mark"]), insertion="replaced")
    added(network, folder)
    for_recipients(network, folder)
    fingerprint(network, folder / "trace-1.json", 256, owner=owner, key=Key(SECRETS["trace"]))
    methods_of_training(network, folder)


def added(network: Path, folder: Path) -> None:
    """A mark that was added: format 2."""
    owner = Owner("Golden Tracker", "Tracker", "source 1", "destination 2")
    embed(network, folder / "marked-added.onnx", folder / "mark-2.json", 256, owner=owner, key=Key(SECRETS["added"]))


def for_recipients(network: Path, folder: Path) -> None:
    """One of two copies for recipients, with its record."""
    with open_network(network) as opened:
        owner = owner_secret.OwnerSecret(Key(SECRETS["owner"]), network_digest(opened), 512, "0.4")
    with tempfile.TemporaryDirectory() as made:
        copies, records = Path(made, "copies"), Path(made, "records")
        records.mkdir()
        owner_secret.save_owner(owner, records)
        who = Owner("Golden Tracker", "Distributor", "source 1")
        done = embed_for_recipients(network, recipients_of(["recipient 1", "recipient 2"]), copies, records, owner=who)
        for number, each in enumerate(done.copies, 1):
            shutil.copy(each.copy, folder / f"marked-recipient-{number}.onnx")
        shutil.copy(done.copies[0].record, folder / "recipient-1.json")


def methods_of_training(network: Path, folder: Path) -> None:
    """RTW with its marked network, and TBW, whose marked network would be a matter of training."""
    rtw = marks.drafted(network, RtwInsertion(bits=32, payload="RTW1"), secret=41)
    save_record(marks.marked_with_rtw(network, folder / "marked-rtw.onnx", rtw), folder / "rtw-1.json")
    tbw = marks.drafted(network, TbwInsertion(triggers=40, payload="TBW1!"), secret=42)
    save_record(complete_record(tbw, network), folder / "tbw-1.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
