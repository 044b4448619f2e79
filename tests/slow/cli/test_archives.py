"""pack, unpack and list of archives as a user runs them: names, exit codes, what is left on the disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import archives, files, main

from bbans import sets
from bbans.images.picture import read_picture
from tests.fake_sets import FakeCodec, install


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakeCodec("gray-1"), FakeCodec("binary-1", symbols=2))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def array() -> Path:
    np.save("digits.npy", np.random.default_rng(0).integers(0, 256, (20, 4, 5), np.uint8))
    return Path("digits.npy")


@pytest.fixture
def folder() -> Path:
    folder = Path("photos")
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "sub/c.png", "sub/d.png"):
        Image.fromarray(rng.integers(0, 256, (4, 5), np.uint8)).save(folder / name)
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save(folder / "e.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_pictures(found: Path, expected: Path) -> None:
    ours, theirs = files_of(found), files_of(expected)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name] == theirs[name] or read_picture(ours[name]) == read_picture(theirs[name])


def vaezip(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main.run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert all(line.startswith("vaezip: ") for line in err.splitlines()) and "Traceback" not in err
    return code, out, err


def damage(archive: Path, chunk: int = 0) -> None:
    """Flip a byte in a chunk of the first group."""
    data = bytearray(archive.read_bytes())
    with open(archive, "rb") as file:
        reader = sets.ArchiveReader(file)
    data[reader.head_bytes + sum(entry.size for entry in reader.archive.groups[0].chunks[:chunk])] ^= 1
    archive.write_bytes(data)


def test_array_there_and_back(array: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array.chmod(0o640)
    code, out, err = vaezip(capsys, "pack", array)
    assert (code, out) == (0, "")
    assert "bits/dim of the first 20 images of 4x5x1: " in err and "in chunks of" in err
    assert "digits.npy.vaeza: 20 images, 400 bytes -> " in err
    assert Path("digits.npy.vaeza").stat().st_mode & 0o777 == 0o640
    array.rename("original.npy")
    code, out, err = vaezip(capsys, "unpack", "digits.npy.vaeza")
    assert (code, out) == (0, "") and "digits.npy: uint8 (20, 4, 5)" in err
    assert array.read_bytes() == Path("original.npy").read_bytes()
    assert vaezip(capsys, "unpack", "-q", "digits.npy.vaeza", "3", "0", "-o", "two.npy") == (0, "", "")
    np.testing.assert_array_equal(np.load("two.npy"), np.load(array)[[3, 0]])
    assert not list(Path().glob(".*"))


def test_folder_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = vaezip(capsys, "pack", "photos/", "--chunk", "2")
    assert (code, out) == (0, "") and "not pictures, kept as they are: notes.txt" in err and "photos.vaeza: 6 images" in err
    assert vaezip(capsys, "unpack", "-q", "photos.vaeza", "-o", "back") == (0, "", "")
    assert_same_pictures(Path("back"), folder)
    assert vaezip(capsys, "unpack", "-q", "photos.vaeza", "-o", "some", "sub/d.png", "0")[0] == 0
    assert set(files_of(Path("some"))) == {"a.png", "sub/d.png"}
    code, _, err = vaezip(capsys, "unpack", "photos.vaeza")
    assert code == 1 and "photos/a.png exists: use -f" in err
    before = files_of(folder)
    (folder / "a.png").write_bytes(b"mine")
    (folder / "other").write_bytes(b"mine")
    assert vaezip(capsys, "unpack", "-q", "-f", "photos.vaeza")[0] == 0
    assert files_of(folder).keys() == {*before, "other"} and files_of(folder)["other"] == b"mine"
    assert read_picture(files_of(folder)["a.png"]) == read_picture(before["a.png"])
    assert not list(Path().rglob(".*"))


def test_what_replaces_a_file_is_on_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vaezip(capsys, "pack", "-q", folder)[0] == 0
    (folder / "sub" / "c.png").unlink()
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or fsync(file))
    assert vaezip(capsys, "unpack", "-q", "-f", "photos.vaeza") == (0, "", "")
    assert sorted(synced) == sorted(len(data) for name, data in files_of(folder).items() if name != "sub/c.png")


def test_existing_targets(array: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("set.vaeza").write_bytes(b"mine")
    code, _, err = vaezip(capsys, "pack", array, "-o", "set.vaeza")
    assert code == 1 and "set.vaeza exists: use -f" in err and Path("set.vaeza").read_bytes() == b"mine"
    assert vaezip(capsys, "pack", "-f", "-q", array, "-o", "set.vaeza") == (0, "", "")
    for target, words in [("digits.npy", "same file"), ("photos", "is not a file"), ("no/set.vaeza", "no is no folder")]:
        code, _, err = vaezip(capsys, "pack", "-f", array, "-o", target)
        assert code == 1 and words in err
    code, _, err = vaezip(capsys, "pack", folder, "-o", folder / "sub" / "set.vaeza")
    assert code == 1 and "lies in the folder that is packed" in err
    for target, words in [("digits.npy", "exists: use -f"), ("photos", "is not a file")]:
        code, _, err = vaezip(capsys, "unpack", "set.vaeza", "-o", target)
        assert code == 1 and words in err
    assert vaezip(capsys, "pack", "-q", folder)[0] == 0
    shutil.rmtree(folder / "sub")
    (folder / "sub").write_bytes(b"mine")
    for target, words in [
        ("photos", "photos/sub exists and is no folder"),
        ("digits.npy", "is no folder"),
        ("no/set", "no is no folder"),
    ]:
        code, _, err = vaezip(capsys, "unpack", "-f", "photos.vaeza", "-o", target)
        assert code == 1 and words in err, err
    assert (folder / "sub").read_bytes() == b"mine"


def test_a_damaged_array(array: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaezip(capsys, "pack", "-q", array, "--chunk", "5", "-o", "set.vaeza")[0] == 0
    damage(Path("set.vaeza"), chunk=2)
    code, _, err = vaezip(capsys, "unpack", "set.vaeza")
    assert code == 3 and "images 10-14: the chunk is damaged" in err and "Nothing was written." in err
    assert not Path("set.npy").exists()
    assert vaezip(capsys, "unpack", "-q", "set.vaeza", "9", "15", "-o", "two.npy") == (0, "", "")
    code, _, err = vaezip(capsys, "unpack", "-q", "--recover", "set.vaeza")
    assert code == 3 and "images 10-14: the chunk is damaged: its check failed. Zeros in their place." in err
    expected = np.load(array)
    expected[10:15] = 0
    np.testing.assert_array_equal(np.load("set.npy"), expected)
    code, out, err = vaezip(capsys, "list", "set.vaeza")
    assert code == 3 and "20 of 4x5x1" in out and "images 10-14: the chunk is damaged" in err


def test_a_damaged_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaezip(capsys, "pack", "-q", folder, "--chunk", "2")[0] == 0
    damage(Path("photos.vaeza"))
    code, _, err = vaezip(capsys, "unpack", "photos.vaeza", "-o", "back")
    assert code == 3 and "a.png, b.png: the chunk is damaged: its check failed. Not written." in err and "4 files" in err
    (folder / "a.png").unlink()
    (folder / "b.png").unlink()
    assert_same_pictures(Path("back"), folder)
    assert vaezip(capsys, "unpack", "photos.vaeza", "-o", "lost", "a.png")[0] == 3
    assert not Path("lost").exists()


def test_bytes_after_the_end(array: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaezip(capsys, "pack", "-q", array, "-o", "set.vaeza")[0] == 0
    with open("set.vaeza", "ab") as file:
        file.write(b"more")
    for command in (["list", "set.vaeza"], ["unpack", "-q", "set.vaeza"]):
        code, _, err = vaezip(capsys, *command)
        assert code == 3 and "4 bytes too many" in err
    assert Path("set.npy").read_bytes() == array.read_bytes()


def test_a_missing_model(array: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaezip(capsys, "pack", "-q", array, "--model", "gray-1", "-o", "set.vaeza")[0] == 0
    install(monkeypatch)
    code, _, err = vaezip(capsys, "unpack", "set.vaeza")
    assert code == 4 and "it needs the model 'gray-1'" in err and "Nothing was written." in err
    assert vaezip(capsys, "list", "set.vaeza")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pack", "nowhere"], 1, "nowhere: No such file"),
        (["pack", "empty"], 4, "no pictures in this folder"),
        (["pack", "floats.npy"], 4, "float64"),
        (["pack", "two.npz"], 4, "2 arrays (a, b)"),
        (["pack", "text"], 4, "not an array of images"),
        (["pack", "digits.npy", "--model", "binary-1"], 4, "not for these"),
        (["pack", "digits.npy", "--model", "nothing"], 4, "no model 'nothing'"),
        (["unpack", "text"], 3, "not an archive of vaezip"),
        (["unpack", "set.vaeza", "x.png"], 1, "no image 'x.png' among its 20"),
        (["unpack", "set.vaeza", "20"], 1, "no image '20'"),
        (["pack"], 2, "Missing argument"),
        (["pack", "a", "b"], 2, "unexpected extra argument"),
        (["pack", "a", "-o", ""], 2, "empty name"),
        (["pack", "a", "--chunk", "0"], 2, "--chunk"),
        (["pack", "a", "--mode", "stored", "--model", "gray-1"], 2, "uses no model"),
        (["unpack"], 2, "Missing argument"),
        (["unpack", "a", "-o", ""], 2, "empty name"),
    ],
)
def test_errors(array: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    """Each class: its code, one line, nothing written."""
    vaezip(capsys, "pack", "-q", array, "-o", "set.vaeza")
    Path("empty").mkdir()
    Path("text").write_text("no picture")
    np.save("floats.npy", np.zeros((2, 3, 4)))
    np.savez("two.npz", a=np.zeros((2, 3, 4), np.uint8), b=np.zeros((2, 3, 4), np.uint8))
    before = sorted(Path().rglob("*"))
    found, out, err = vaezip(capsys, *arguments)
    assert (found, out) == (code, "") and words in err and err.count("\n") == 1, err
    assert ("See 'vaezip" if code == 2 else "Nothing was written.") in err
    assert sorted(Path().rglob("*")) == before


def test_one_array_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"a": np.zeros((2, 3, 4), np.uint8), "b": np.eye(4, dtype=bool)[None]}
    np.savez("two.npz", **arrays)
    assert vaezip(capsys, "pack", "-q", "two.npz:b") == (0, "", "")
    assert vaezip(capsys, "unpack", "-q", "two.npz:b.vaeza") == (0, "", "")
    back = np.load("two.npz:b.npy")
    assert back.dtype == bool and (back == arrays["b"]).all()


def test_list(array: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vaezip(capsys, "pack", "-q", array, "--model", "gray-1", "--chunk", "8", "-o", "set.vaeza")
    vaezip(capsys, "pack", "-q", folder)
    vaezip(capsys, "compress", "-q", "--mode", "stored", "photos/e.png", "-o", "e.vaez")
    code, out, err = vaezip(capsys, "list", "set.vaeza", "photos.vaeza", "e.vaez")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["file", "set.vaeza", "photos.vaeza", "e.vaez", "total"]
    assert (
        "20 of 4x5x1  model gray-1, fake" in lines[1]
        and "6 images" in lines[2]
        and lines[2].endswith("-")
        and "1 by model" in lines[4]
    )

    code, out, _ = vaezip(capsys, "list", "-v", "set.vaeza", "photos.vaeza")
    assert code == 0
    for words in ("array, uint8 (20, 4, 5)", "where the bits go, group 0", "initial bits", "sub/c.png", "one by one", "kept"):
        assert words in out
    code, out, _ = vaezip(capsys, "list", "--json", "set.vaeza", "photos.vaeza", "e.vaez")
    first, second, third = map(json.loads, out.splitlines())
    assert first["groups"][0]["chunks"] == 3 and first["shape"] == [20, 4, 5] and first["lost"] == []
    kinds = ("likelihood", "prior", "posterior", "initial", "changes")
    assert first["groups"][0]["accounting"].keys() == {f"{kind}_bits" for kind in kinds}
    assert second["names"] == sorted(files_of(folder)) and len(second["members"]) == 6
    assert [entry["schema"] for entry in (first, second, third)] == [1, 1, 1] and third["mode"] == "stored"


@pytest.mark.parametrize("interruption", [main.Signalled(15), OSError(28, "No space left on device")])
def test_interrupted(
    array: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interruption: BaseException
) -> None:
    """Nothing is left, and what was there stays."""
    vaezip(capsys, "pack", "-q", array, "-o", "set.vaeza")
    vaezip(capsys, "pack", "-q", folder, "-o", "pictures.vaeza")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    def interrupt(*_: object) -> None:
        raise interruption

    code = 143 if isinstance(interruption, main.Signalled) else 1
    monkeypatch.setattr(os, "fsync", interrupt)
    assert vaezip(capsys, "pack", "-f", folder, "-o", "set.vaeza")[0] == code
    assert vaezip(capsys, "unpack", "-f", "set.vaeza", "-o", "digits.npy")[0] == code
    monkeypatch.setattr(Path, "write_bytes", interrupt)
    assert vaezip(capsys, "unpack", "pictures.vaeza", "-o", "new")[0] == code
    assert vaezip(capsys, "unpack", "-f", "pictures.vaeza", "-o", "photos")[0] == code
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("new").exists() and not list(Path().rglob(".*"))


@pytest.mark.parametrize(
    ("source", "suffix", "expected"),
    [
        ("digits.npy.vaeza", ".npy", "digits.npy"),
        ("digits.vaeza", ".npy", "digits.npy"),
        ("t10k-idx3-ubyte.gz.vaeza", ".npy", "t10k-idx3-ubyte.gz.npy"),
        ("photos.vaeza", "", "photos"),
        ("photos", "", "photos.unpacked"),
        ("x.bin", ".npy", "x.bin.npy"),
    ],
)
def test_names(source: str, suffix: str, expected: str) -> None:
    assert archives.unpacked_name(Path("in", source), suffix) == Path("in", expected)


def test_names_of_folders(tmp_path: Path) -> None:
    assert archives.packed_name("a/b/") == Path("a/b.vaeza")
    assert archives.packed_name(".") == tmp_path.with_name(tmp_path.name + ".vaeza")


def test_unpack_here(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vaezip(capsys, "pack", "-q", folder)
    (tmp_path / "here").mkdir()
    os.chdir("here")
    assert vaezip(capsys, "unpack", "-q", "../photos.vaeza", "-o", ".") == (0, "", "")
    assert_same_pictures(Path(), tmp_path / "photos")


def test_paths_that_lead_elsewhere_on_windows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folder / "a.png", folder / r"..\..\up.png")
    os.symlink(r"..\..\up.png", folder / "link")
    vaezip(capsys, "pack", "-q", folder)
    monkeypatch.setattr(files, "_WINDOWS", True)
    for wanted in ([], [r"..\..\up.png"], ["link"]):
        code, _, stderr = vaezip(capsys, "unpack", "photos.vaeza", *wanted, "-o", "out")
        assert code == 1 and "is no path on Windows: unpack the others by name" in stderr
    assert vaezip(capsys, "unpack", "-q", "photos.vaeza", "a.png", "e.png", "-o", "out")[0] == 0
    assert sorted(os.listdir("out")) == ["a.png", "e.png"]


def test_a_folder_that_comes_in_between(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with pytest.raises(files.Refused, match="a exists: use -f"), files.staging(target, force=False) as staged:
        (staged / "a").write_bytes(b"ours")
        target.mkdir()
        (target / "a").write_bytes(b"theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["target"] and (target / "a").read_bytes() == b"theirs"


def test_as_a_process_without_torch(array: Path) -> None:
    """Stored arrays need no networks, there or back."""
    script = "import sys; from vaezip_cli import main; code = main.run(sys.argv[1:]); print('torch' in sys.modules, code)"
    for arguments in (
        ["pack", "-q", "--mode", "stored", str(array)],
        ["unpack", "-q", "-f", "digits.npy.vaeza"],
        ["list", "digits.npy.vaeza"],
    ):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False 0", done
