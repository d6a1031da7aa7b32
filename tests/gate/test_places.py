"""Which files a policy speaks of: globs, networks by content, and what changed since a revision."""

import subprocess

import pytest

from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.gate.places import changed_since, expand, is_network, matches, networks_in
from tests.support.networks import convolutional, dense, externalise, save


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("a.onnx", ["a.onnx"], ["b/a.onnx", "aXonnx", "a.onnx.sig"]),
        ("*.onnx", ["a.onnx", ".onnx"], ["b/a.onnx", "a.onnx\n"]),
        ("**/*.onnx", ["a.onnx", "b/a.onnx", "b/c/a.onnx"], ["a.bin"]),
        ("m/**", ["m/a", "m/b/c"], ["a", "mm/a"]),
        ("./m/?.onnx", ["m/a.onnx"], ["m/ab.onnx", "m//.onnx"]),
        ("m[1].onnx", ["m[1].onnx"], ["m1.onnx"]),
    ],
)
def test_globs(glob, yes, no):
    """A star stays in its folder, two go through all; everything else is itself."""
    assert [name for name in [*yes, *no] if matches(name, [glob])] == yes


def test_networks_are_found_by_content(tmp_path):
    """Whatever they are called; what is called one and is none is named too, for it has to be said."""
    save(dense(), tmp_path / "hidden.bin")
    save(convolutional(), tmp_path / "plain.onnx")
    (tmp_path / "sub" / ".git").mkdir(parents=True)
    externalise(dense(), tmp_path / "sub", "net.dat", lambda name: "w.bin")
    (tmp_path / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "notes.txt").write_text("a text\n" * 100)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "runtime.bin").write_bytes(b"\x18\0\0\0ORTM" + bytes(40))
    save(dense(), tmp_path / "sub" / ".git" / "net.onnx")
    names = [path.relative_to(tmp_path).as_posix() for path in networks_in(tmp_path)]
    assert names == ["hidden.bin", "plain.onnx", "pointer.onnx", "runtime.bin", "sub/net.dat"]


def test_a_file_cannot_hide_behind_its_first_bytes(tmp_path):
    """Fields in another order, unknown ones, and very many of them, leave a network a network."""
    body = dense().SerializeToString()
    for number, before in enumerate((b"", b"\xfa\x3f\x03abc", b"\x90\x3f\x01" * 20_000)):
        path = tmp_path / str(number)
        path.write_bytes(before + body)
        assert is_network(path)
    for number, content in enumerate((body[:-1], body + b"\x0a", b"\x0a\x00", b"\x3b" + body)):
        path = tmp_path / f"no{number}"
        path.write_bytes(content)
        assert not is_network(path)
    assert not is_network(tmp_path)
    assert not is_network(tmp_path / "nowhere")


def test_a_plain_path_stands_for_itself(tmp_path):
    """Whether it is there or not: that it is missing has to be said."""
    assert expand(tmp_path, "a.onnx") == [tmp_path / "a.onnx"]
    assert expand(tmp_path, "no/*.onnx") == []


def git(folder, *arguments) -> None:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *names, *arguments], check=True, capture_output=True)


def test_what_changed_since_a_revision(tmp_path):
    """A network that is another one, a new one, and one beside whose weights something changed; a new policy leaves nothing out."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    places = [save(dense(seed=n), tmp_path / name / f"{name}.onnx") for n, name in enumerate("abc")]
    (tmp_path / "b" / "weights.bin").write_bytes(b"1")
    policy = tmp_path / "onnxnnw.toml"
    policy.write_text("x")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    assert changed_since(places, "HEAD", [policy]) == []
    save(dense(seed=9), places[0])
    places.append(save(dense(seed=8), tmp_path / "d" / "new.onnx"))
    (tmp_path / "b" / "weights.bin").write_bytes(b"2")
    assert [path.name for path in changed_since(places, "HEAD", [policy])] == ["a.onnx", "b.onnx", "new.onnx"]
    policy.write_text("y")
    assert changed_since(places, "HEAD", [policy]) == places


@pytest.mark.parametrize("revision", ["", "--output=x", "-1"])
def test_a_revision_is_no_option(revision, tmp_path):
    """Nothing that git would take for something else reaches it."""
    with pytest.raises(UsageError, match="revision"):
        changed_since([tmp_path / "a.onnx"], revision, [])


def test_git_may_know_nothing(tmp_path):
    """No repository, or no such revision: could not look."""
    with pytest.raises(CannotLook, match="git cannot say"):
        changed_since([tmp_path / "a.onnx"], "HEAD", [])
