"""What URLs of other schemes than S3 and memory are: HTTP servers, zip files, tar files by URL; and whom gs:// and az:// call."""

import importlib
import re
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pytest

import bbans
from bbans import shards
from bbans.results import Restored
from bbans.shards import SetReader
from bbans.storage import PACKAGES, Folder, RemoteFile

fsspec = pytest.importorskip("fsspec")
registry = importlib.import_module("fsspec.registry")  # `fsspec.registry` is a table in it


def files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {f"{'sub/' if number % 2 else ''}{number:03}.bin": rng.bytes(300 + number) for number in range(20)}


def write_files(folder: Path) -> Path:
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(target: str) -> dict[str, bytes]:
    """What a set gives back, file by file."""
    with bbans.open_archive(target) as reader:
        assert isinstance(reader, SetReader)
        assert all(isinstance(reader[name], Restored) for name in reader.names)
        return {name: reader[name].data for name in reader.names}


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and ranges of them if `ranges`. `log` has what was asked for."""

    ranges = True
    log: ClassVar[list[tuple[str, str | None]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def send_head(self) -> Any:
        wanted = self.headers.get("Range")
        self.log.append((self.path, wanted))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if not self.ranges or found is None:
            return super().send_head()
        data = Path(self.translate_path(self.path)).read_bytes()
        part = data[int(found[1]) : int(found[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {found[1]}-{int(found[1]) + len(part) - 1}/{len(data)}")
        self.end_headers()
        return BytesIO(part)


@pytest.fixture(params=[True, False], ids=["ranges", "whole files"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, type[Handler]]]:
    """A URL that leads to `tmp_path`. https:// is the same class of fsspec, and TLS is below it."""
    pytest.importorskip("aiohttp")

    class Own(Handler):
        ranges = request.param
        log: ClassVar[list[tuple[str, str | None]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Own, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Own
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_of_files(served: tuple[str, type[Handler]], tmp_path: Path) -> None:
    """A set and an archive are read by HTTP; by two ranges, where the server knows ranges."""
    url, handler = served
    write_files(tmp_path / "in")
    done = shards.pack(tmp_path / "in", tmp_path / "set", shard_images=6, mode="stored")
    assert contents(f"{url}/set") == files()
    with bbans.open_archive(f"{url}/set") as reader:
        handler.log.clear()
        assert reader[7].data == files()[sorted(files())[7]]  # type: ignore[union-attr]
        assert [name for name, _ in handler.log] == [handler.log[0][0]] * 2 and all(wanted for _, wanted in handler.log)
    part = done.manifest.parts[0]
    with bbans.open_archive(f"{url}/set/{part.file}") as archive:
        assert len(archive) == part.images and archive[0].data == files()[part.first]  # type: ignore[union-attr]
    with pytest.raises(FileNotFoundError):
        Folder(url).read("nothing")


def test_a_page_of_links_is_a_source(served: tuple[str, type[Handler]], tmp_path: Path) -> None:
    """It says nothing of sizes and times: each file is asked for its own."""
    url, _ = served
    write_files(tmp_path / "in")
    found = Folder(f"{url}/in").find()
    assert [(entry.name, entry.size) for entry in found] == [(name, len(files()[name])) for name in sorted(files())]
    assert all("GMT" in entry.stamp for entry in found)
    shards.pack(f"{url}/in", tmp_path / "set", shard_images=6, mode="stored")
    assert contents(str(tmp_path / "set")) == files()
    assert shards.pack(f"{url}/in", tmp_path / "set", shard_images=6, mode="stored").kept >= 4


def write_tar(file: BinaryIO, members: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


@pytest.mark.parametrize("scheme", ["memory", "http"])
def test_tar_files_by_url(scheme: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """As WebDataset keeps them; each is a shard."""
    names = sorted(files())
    for number in range(2):
        with open(tmp_path / f"train-{number:02}.tar", "wb") as file:
            write_tar(file, {name: files()[name] for name in names[number::2]})
    expected = {f"train-{number:02}/{name}": files()[name] for number in range(2) for name in names[number::2]}
    if scheme == "memory":
        url = "memory://tars"
        for path in tmp_path.glob("*.tar"):
            Folder(url).write(path.name, path)
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        request.addfinalizer(lambda: (server.shutdown(), thread.join(), server.server_close()))
        url = f"http://127.0.0.1:{server.server_port}"
    done = shards.pack(f"{url}/train-{{00..01}}.tar", tmp_path / "set", mode="stored")
    assert isinstance(done, shards.PackedSet)  # of a source by URL, without a word of shards
    assert len(done.manifest.parts) == 2 and contents(str(tmp_path / "set")) == expected


def test_zip_files_are_sources(tmp_path: Path) -> None:
    """And sets are read from them; nothing is written into one."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in files().items():
            archive.writestr(f"in/{name}", data)
    source = f"zip://in::{tmp_path}/a.zip"
    assert [(entry.name, entry.size) for entry in Folder(source).find()] == [(name, len(files()[name])) for name in sorted(files())]
    shards.pack(source, tmp_path / "set", shard_images=6, mode="stored")
    assert contents(str(tmp_path / "set")) == files()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:  # as large, but changed
        for name, data in files().items():
            archive.writestr(f"in/{name}", bytes(len(data)) if name == "000.bin" else data)
        for path in (tmp_path / "set").iterdir():
            archive.write(path, f"set/{path.name}")
    assert contents(f"zip://set::{tmp_path}/a.zip") == files()
    again = shards.pack(source, tmp_path / "set", shard_images=6, mode="stored")
    assert again.kept == len(again.manifest.parts) - 1
    assert contents(str(tmp_path / "set")) == {**files(), "000.bin": bytes(300)}
    with pytest.raises(OSError, match=r"zip://set::.*a\.zip"):
        Folder(f"zip://set::{tmp_path}/a.zip").write("new", b"data")


CLIENTS = {"gs": "gcsfs.GCSFileSystem", "gcs": "gcsfs.GCSFileSystem", "az": "adlfs.AzureBlobFileSystem", "s3": "s3fs.S3FileSystem"}


@pytest.mark.parametrize("scheme", [*CLIENTS, "abfs", "https"])
def test_what_is_missing_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that fsspec calls for a scheme, as pip calls it."""
    if scheme in CLIENTS:
        assert registry.known_implementations[scheme]["class"] == CLIENTS[scheme]
        assert PACKAGES[scheme] == CLIENTS[scheme].split(".")[0]
    client = registry.known_implementations[scheme]["class"].rpartition(".")[0]
    monkeypatch.setitem(sys.modules, client, None)
    monkeypatch.delitem(registry._registry, scheme, raising=False)
    for url in (f"{scheme}://bucket/a", f"simplecache::{scheme}://bucket/a"):
        with pytest.raises(OSError, match=f"^.*{re.escape(url)}/b: .* pip install {PACKAGES[scheme]}$"):
            Folder(url).read("b")
        with pytest.raises(OSError, match=f"pip install {PACKAGES[scheme]}$"):
            RemoteFile(url).read()


@pytest.mark.parametrize(("scheme", "protocol"), [("gs", ("gs", "gcs")), ("az", "abfs")])
def test_storage_of_objects(scheme: str, protocol: str | tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for their clients, of these protocols and keys: a file is one PUT, and etags tell what has changed."""
    from fsspec.implementations.memory import MemoryFileSystem

    class Objects(MemoryFileSystem):  # type: ignore[misc]
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        cachable = False
        puts: ClassVar[list[str]] = []

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            stripped: str = super()._strip_protocol(path.removeprefix(f"{scheme}://"))
            return stripped

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            found: dict[str, Any] = super().info(path, **options)
            return {**found, "etag": f"etag of {found['size']}"} if found["type"] == "file" else found

        def find(self, path: str, **options: Any) -> Any:
            return {name: self.info(name) for name in super().find(path)}

        def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
            self.puts.append(path)
            super().pipe_file(path, value, **options)

        def put_file(self, here: str, path: str, **options: Any) -> None:
            self.puts.append(path)
            super().put_file(here, path, **options)

        def mv(self, *_: Any, **__: Any) -> None:
            raise AssertionError("object storage has no rename")

    Objects.protocol = protocol
    monkeypatch.setitem(registry._registry, scheme, Objects)
    for name, data in files().items():
        Folder(f"{scheme}://bucket/in").write(name, data)
    Objects.puts.clear()
    done = shards.pack(f"{scheme}://bucket/in", f"{scheme}://bucket/set", shard_images=6, mode="stored", read_back=True)
    assert len(Objects.puts) == len(set(Objects.puts)) == 2 * len(done.manifest.parts) + 1
    assert Objects.puts[-1] == "/bucket/set/manifest.jsonl" and contents(f"{scheme}://bucket/set") == files()
    RemoteFile(f"{scheme}://bucket/in/000.bin").write(b"another")
    again = shards.pack(f"{scheme}://bucket/in", f"{scheme}://bucket/set", shard_images=6, mode="stored")
    assert again.kept == len(done.manifest.parts) - 1
    assert contents(f"{scheme}://bucket/set") == {**files(), "000.bin": b"another"}
