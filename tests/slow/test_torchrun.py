"""Training on several machines: two torchruns with a process each, of which one dies; and going on with more or fewer."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bbans.models.photo.config import PhotoConfig
from bbans.training import checkpoint as checkpoints
from bbans.training.callbacks import Status, Stopped
from bbans.training.loop import Machine, train
from bbans.training.schedule import Schedule
from bbans.training.tasks.photo import read_photo_task
from tests.training import Rows, folder_of_pictures

SECONDS = 240
"""The longest that a test waits for anything: on a machine that others use too."""
SCHEDULE = Schedule(steps=8, batch=2, side=32, every=2)
OPTIONS = ["--steps", "8", "--every", "2", "--side", "32", "--float32", "--no-evaluation", "--threads", "1", "--workers", "0"]
SIZE = ["--size", "width=8", "--size", "blocks=1"]

PROCESS = """
import os, sys, time
from pathlib import Path
import torch
from vaezip_cli import main
from bbans.training import run
from bbans.training.trainer import Trainer

rank, wait = os.environ["RANK"], float(sys.argv[1])
train, advance = run.train, Trainer.advance

def waiting(self, *arguments, **options):
    if wait and self.step == 5:
        Path(f"waiting-{rank}.part").write_text(f"{os.getpid()} {os.getppid()}")
        os.rename(f"waiting-{rank}.part", f"waiting-{rank}")
        end = time.monotonic() + wait
        while not os.path.exists("go") and time.monotonic() < end:
            time.sleep(0.05)
    return advance(self, *arguments, **options)

def kept(*arguments, **options):
    model = train(*arguments, **options)
    torch.save(model.state_dict(), f"rank-{rank}.pt")
    return model

Trainer.advance, run.train = waiting, kept
sys.exit(main.run(sys.argv[2:]))
"""
"""The command; each process keeps its weights, and may wait before its sixth step until the test goes on."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "photos")


@contextmanager
def two_machines(folder: Path, wait: bool = False) -> Iterator[list[subprocess.Popen[str]]]:
    """The documented line on two machines, both of which are this one. Nothing that it has started stays."""
    (folder / "process.py").write_text(PROCESS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1", "--no-python", sys.executable, "process.py"]
    command += [str(SECONDS if wait else 0), "train", "photos", "--out", "mine.safetensors", "--batch", "1", *OPTIONS, *SIZE]
    agents = [subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        yield agents
    finally:
        (folder / "go").touch()
        for agent in agents:
            agent.terminate()
            agent.communicate(timeout=SECONDS)


def saved(folder: Path) -> dict[str, object]:
    return checkpoints.read(folder / "mine.ckpt")


def train_alone(folder: Path, out: Path, callbacks: Rows | None = None) -> dict[str, torch.Tensor]:
    """As the command in one process does, which takes the samples of both."""
    task = read_photo_task([folder / "photos"], [], PhotoConfig(width=8, blocks=1), 32, omit=[out.with_suffix(".png")])
    machine = Machine(float32=True, workers=0)
    return dict(train(task, SCHEDULE, out.with_suffix(".ckpt"), machine=machine, callbacks=callbacks or Rows()).state_dict())


def assert_close(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """The same samples, in sums of another order."""
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.allclose(value, theirs[name], rtol=0, atol=1e-4), name


def test_two_machines_go_on_for_one(photos: Path, tmp_path: Path) -> None:
    """Both end, with the same weights, which are those of one machine alone."""

    class Cut(Rows):
        def step(self, status: Callable[[], Status]) -> None:
            super().step(status)
            if self.steps == 3:
                self.stop_after = 4

    with pytest.raises(Stopped) as stopped:
        train_alone(tmp_path, tmp_path / "mine.safetensors", Cut())
    assert stopped.value.step == 4
    errors = []
    with two_machines(tmp_path) as agents:
        for agent in agents:
            errors.append(agent.communicate(timeout=SECONDS)[1])
            assert agent.returncode == 0, errors
    assert sum("going on after step 4: 8 steps in all" in text for text in errors) == 1
    assert saved(tmp_path)["step"] == 8 and (tmp_path / "mine.safetensors").exists()
    ranks = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]
    assert ranks[0].keys() == ranks[1].keys() and all(torch.equal(value, ranks[1][name]) for name, value in ranks[0].items())
    assert_close(ranks[0], train_alone(tmp_path, tmp_path / "alone.safetensors"))


@pytest.mark.parametrize("dead", ["torchrun", "machine"])
def test_a_machine_dies_and_one_goes_on_for_two(photos: Path, tmp_path: Path, dead: str) -> None:
    """Its torchrun alone, whose process would train on; or both. The other ends with an error, and its checkpoint is whole."""
    with two_machines(tmp_path, wait=True) as started:
        agents = {agent.pid: agent for agent in started}
        end = time.monotonic() + SECONDS
        while not all((tmp_path / f"waiting-{rank}").exists() for rank in range(2)):
            assert time.monotonic() < end and all(agent.poll() is None for agent in started)
            time.sleep(0.05)
        (_, first), (process, second) = (map(int, (tmp_path / f"waiting-{rank}").read_text().split()) for rank in range(2))
        agents[second].kill()
        if dead == "machine":
            os.kill(process, signal.SIGKILL)
        agents[second].wait(SECONDS)
        (tmp_path / "go").touch()
        said = agents[first].communicate(timeout=SECONDS)[1]
        agents[second].communicate(timeout=SECONDS)  # its process has that pipe, too, so it has ended as well
    assert agents[first].returncode == 1
    step = saved(tmp_path)["step"]
    if dead == "torchrun":
        assert step == 7 and "stopped after step 7: the torchrun of a process of the run has ended. mine.ckpt is its chec" in said
    else:
        assert step == 4 and "a process of the run has ended, or cannot be reached (" in said and "fault of" not in said
    rows = Rows()
    alone = train_alone(tmp_path, tmp_path / "mine.safetensors", rows)
    assert f"going on after step {step}: 8 steps in all" in rows.notes and saved(tmp_path)["step"] == 8
    assert_close(alone, train_alone(tmp_path, tmp_path / "alone.safetensors"))
