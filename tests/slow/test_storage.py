"""Sets on object storage: fsspec's file system in memory, and an S3 server on this machine that fails now and then."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

import bbans
from bbans import shards
from bbans.results import Restored
from bbans.shards import SetReader
from bbans.storage import Folder, is_url, split

fsspec = pytest.importorskip("fsspec")


def files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {f"{'sub/' if number % 2 else ''}{number:03}.bin": rng.bytes(300 + number) for number in range(40)}


@dataclass
class Server:
    """An S3 server. `log` has (method, range) of every request; each `fail_every`-th is answered by 500."""

    app: Any
    log: list[tuple[str, str | None]] = field(default_factory=list)
    fail_every: int = 0
    failed: int = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.log.append((environ["REQUEST_METHOD"], environ.get("HTTP_RANGE")))
        if self.fail_every and len(self.log) % self.fail_every == 0:
            self.failed += 1
            start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"a bad day"]
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer

    @property
    def ranges(self) -> list[str]:
        return [own for method, own in self.log if method == "GET" and own]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.moto_server.werkzeug_app")
    from werkzeug.serving import make_server

    application = Server(moto.DomainDispatcherApplication(moto.create_backend_app))
    listening = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    endpoint = f"http://127.0.0.1:{listening.server_port}"
    with urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")) as answer:  # what an earlier test has left
        assert answer.status == 200
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})
    fsspec.filesystem("s3").mkdir("bucket")
    try:
        yield application
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.fixture(params=["path", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "path":
        yield Folder(str(tmp_path / "here"))
    elif request.param == "memory":
        yield Folder("memory://storage-test/in")
        fsspec.filesystem("memory").rm("/storage-test", recursive=True)
    else:
        request.getfixturevalue("server")
        yield Folder("s3://bucket/in")


def test_folders_are_alike(folder: Folder, tmp_path: Path) -> None:
    for name, data in files().items():
        folder.write(name, data)
    names = sorted(files())
    found = folder.find()
    assert [entry.name for entry in found] == names and [entry.size for entry in found] == [len(files()[name]) for name in names]
    assert all(entry.stamp for entry in found) and sorted(folder.names()) == [own for own in names if "/" not in own]
    assert folder.read(names[0]) == files()[names[0]] and folder.read(names[0], 5, 9) == files()[names[0]][5:9]
    assert folder.read_many(names[:5]) == [files()[name] for name in names[:5]] and folder.size(names[3]) == len(files()[names[3]])
    with folder.open(names[7]) as file:
        assert file.read() == files()[names[7]]
    (tmp_path / "outside").write_bytes(files()[names[7]])
    folder.write("other", tmp_path / "outside")
    assert folder.read("other") == files()[names[7]]
    old = found[1].stamp
    folder.write(names[1], b"now")
    assert {entry.name: entry for entry in folder.find()}[names[1]].stamp != old
    folder.write("third", b"3")
    folder.remove(["other", "third"])
    folder.remove(["other"])
    folder.remove([])
    assert "third" not in folder.names()
    for missing in (lambda: folder.read("other"), lambda: folder.read_many(["other"]), lambda: folder.size("other")):
        with pytest.raises(FileNotFoundError):
            missing()
    with pytest.raises(FileNotFoundError), folder.open("other") as file:
        file.read()
    nothing = Folder(f"{folder.url}/nothing")
    assert nothing.find() == [] and nothing.names() == []


def test_what_is_no_storage_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="nosuch://bucket/a: .*nosuch"):
        Folder("nosuch://bucket").read("a")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(OSError, match="URLs need fsspec"):
        Folder("s3://bucket").read("a")


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/a") and is_url("zip://*.png::file.zip") and is_url("simplecache::s3://bucket/a")
    assert not any(map(is_url, ("a/b", "C:\\photos", "file:///a", "a.npz:images", "IMG::1.png")))


@pytest.mark.parametrize(
    ("url", "parent"),
    [
        ("b.tar", "."),
        ("/b.tar", "/"),
        ("a/b.tar", "a"),
        ("file:///a/b.tar", "file:///a"),
        ("memory://b.tar", "memory://"),
        ("s3://bucket/a/b.tar", "s3://bucket/a"),
        ("zip://a/b.tar::s3://bucket/x.zip", "zip://a::s3://bucket/x.zip"),
        ("simplecache::s3://bucket/b.tar", "simplecache::s3://bucket"),
    ],
)
def test_the_folder_of_a_file(url: str, parent: str) -> None:
    assert split(url) == (Folder(parent), "b.tar")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None, int | None]]:
    log: list[tuple[str, int | None, int | None]] = []
    read = Folder.read

    def logged(self: Folder, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        log.append((name, start, stop))
        return read(self, name, start, stop)

    monkeypatch.setattr(Folder, "read", logged)
    return log


def check_set(target: str, expected: dict[str, bytes]) -> None:
    reader = bbans.open_archive(target)
    assert isinstance(reader, SetReader)
    with reader:
        assert list(reader.names) == sorted(expected)
        assert [own.data for own in reader if isinstance(own, Restored)] == [expected[name] for name in reader.names]
        assert [own.data for own in reader[5:30:4] if isinstance(own, Restored)] == [
            expected[name] for name in reader.names[5:30:4]
        ]


def test_a_picture_takes_two_ranges(folder: Folder, requests: list[tuple[str, int | None, int | None]]) -> None:
    for name, data in files().items():
        folder.write(name, data)
    target = Folder(f"{folder.url}-set")
    done = shards.pack(folder.url, target.url, shard_images=10, mode="stored", read_back=True)
    assert len(done.manifest.parts) >= 4
    name = sorted(files())[17]
    for key in (name, 17):
        requests.clear()
        reader = bbans.open_archive(target.url)
        assert isinstance(reader, SetReader) and [own[0] for own in requests] == ["manifest.jsonl"]
        requests.clear()
        assert reader[key].data == files()[name]  # type: ignore[union-attr]
        part = next(own for own in done.manifest.parts if own.first <= name <= own.last)
        assert [(file, start) for file, start, _ in requests] == [(part.file, 0), (part.file, requests[1][1])]
        assert requests[0][2] == part.head_bytes and (requests[1][1] or 0) >= part.head_bytes
        requests.clear()
        assert reader[key].data == files()[name] and len(requests) <= 1  # type: ignore[union-attr]
        reader.close()
    check_set(target.url, files())
    assert {entry.name for entry in target.find()} == {"manifest.jsonl", *(part.file for part in done.manifest.parts)}


def test_a_single_archive_by_url(folder: Folder) -> None:
    for name, data in files().items():
        folder.write(name, data)
    done = shards.pack(folder.url, f"{folder.url}-set", shard_images=10, mode="stored")
    part = done.manifest.parts[1]
    with bbans.open_archive(f"{folder.url}-set/{part.file}") as images:
        assert len(images) == part.images and images[0].data == files()[part.first]  # type: ignore[union-attr]


def test_a_server_that_fails_now_and_then(server: Server, tmp_path: Path) -> None:
    """A 500 in every tenth answer: fsspec's client asks again; the bytes are those of this machine's disk."""
    for name, data in files().items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    expected = shards.pack(tmp_path / "in", tmp_path / "set", shard_images=8, mode="stored", times=False)
    server.fail_every = 10
    system = fsspec.filesystem("s3")
    for name, data in files().items():
        system.pipe_file(f"bucket/in/{name}", data)
    with ThreadPoolExecutor(2) as pool:
        done = shards.pack("s3://bucket/in", "s3://bucket/set", executor=pool, shard_images=8, mode="stored", read_back=True)
    assert [part.check for part in done.manifest.parts] == [part.check for part in expected.manifest.parts]
    assert server.failed >= 10
    server.log.clear()
    check_set("s3://bucket/set", files())
    assert len(server.ranges) >= len(done.manifest.parts)
    assert shards.pack("s3://bucket/in", "s3://bucket/set", shard_images=8, mode="stored").kept == len(done.manifest.parts)
    system.pipe_file("bucket/in/010.bin", b"another")
    again = shards.pack("s3://bucket/in", "s3://bucket/set", shard_images=8, mode="stored")
    assert again.kept == len(done.manifest.parts) - 1
    check_set("s3://bucket/set", {**files(), "010.bin": b"another"})


def test_a_picture_of_s3_takes_two_requests_on_the_wire(server: Server) -> None:
    system = fsspec.filesystem("s3")
    for name, data in files().items():
        system.pipe_file(f"bucket/in/{name}", data)
    shards.pack("s3://bucket/in", "s3://bucket/set", shard_images=8, mode="stored")
    reader = bbans.open_archive("s3://bucket/set")
    server.log.clear()
    assert reader[23].data == files()[sorted(files())[23]]  # type: ignore[union-attr]
    assert [method for method, _ in server.log] == ["GET", "GET"] and len(server.ranges) == 2
    reader.close()
