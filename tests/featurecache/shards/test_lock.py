"""The lock: one writer at a time, who it is, and nothing that a dead one leaves in the way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featurecache import disk
from featurecache.shards.lock import BeingWritten, Lock, check_unlocked, waiting

HOLD = (
    "import sys, time; from pathlib import Path; from featurecache.shards.lock import Lock\n"
    "lock = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """What is to be written."""
    return tmp_path / "00000.h5"


@pytest.fixture
def holder(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_another_process_is_named_within_a_second_and_gone_when_it_is_killed(
    target: Path, holder: subprocess.Popen[str], refused: Any
) -> None:
    began = time.monotonic()
    parts = (str(target), f"process {holder.pid} ", socket.gethostname(), "run again")
    with refused(*parts, error=BeingWritten):
        Lock(target, patience=0.2)
    assert time.monotonic() - began < 1
    holder.kill()
    holder.wait()
    assert target.with_name("00000.h5.lock").exists()  # nobody was there to remove it
    Lock(target).release()
    assert os.listdir(target.parent) == []


@pytest.mark.usefixtures("handles")
def test_it_says_who_has_it_and_leaves_nothing(target: Path, refused: Any) -> None:
    lock = Lock(target)
    said = json.loads(target.with_name("00000.h5.lock").read_bytes())
    assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
    assert sorted(said) == ["host", "pid", "since"]
    with refused(f"process {os.getpid()} ", said["since"], error=BeingWritten):
        Lock(target)
    lock.release()
    Lock(target).release()
    assert os.listdir(target.parent) == []


@pytest.mark.usefixtures("handles")
def test_whether_it_is_free_can_be_asked_without_writing(target: Path, refused: Any, tree: Any) -> None:
    check_unlocked(target)
    assert os.listdir(target.parent) == []
    lock = Lock(target)
    before = tree(target.parent)
    with refused(f"process {os.getpid()} ", error=BeingWritten):
        check_unlocked(target)
    assert tree(target.parent) == before
    lock.release()
    target.with_name("00000.h5.lock").write_bytes(b"of a dead one")
    check_unlocked(target)
    Lock(target).release()  # it holds nothing back


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff" * 2000,
        b"null",
        b"[]",
        b'{"pid": "x", "host": 1, "since": null}',
        b'{"pid": 1, "host": "a\\nb\\u001b[31m", "since": "' + b"y" * 500 + b'"}',
        b'{"pid": ' + b"9" * 900 + b"}",
        b'{"pid": 1e999, "host": "h", "since": "s"}',
        b'{"pid": NaN, "host": "h", "since": "s"}',
        b"[" * 1000,
    ],
    ids=range(11),
)
def test_whatever_a_lock_file_says_it_is_one_line(content: bytes, target: Path, refused: Any) -> None:
    file = target.with_name("00000.h5.lock")
    file.write_bytes(content)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with refused(str(target), "being written by", error=BeingWritten):
            Lock(target)
    Lock(target).release()  # nobody holds it: what it says does not matter


def test_it_is_waited_for(target: Path) -> None:
    lock = Lock(target)
    timer = threading.Timer(0.1, lock.release)
    timer.start()
    began = time.monotonic()
    with waiting(target, 10):
        assert 0.05 < time.monotonic() - began < 5
    timer.join()
    assert os.listdir(target.parent) == []


def test_it_is_let_go_after_an_error(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), waiting(target, 0):
        _ = 1 / 0
    Lock(target).release()


def test_only_one_is_inside_at_a_time(target: Path) -> None:
    # Every opening of the file has its own lock, so threads stand for processes. Each turn removes the file: the
    # others wait for a file that is no longer the one of this name.
    inside, most, turns = [0], [0], [0]

    def work() -> None:
        for _ in range(15):
            with waiting(target, 30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                turns[0] += 1
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == ([1], [90])
    assert os.listdir(target.parent) == []


@pytest.mark.usefixtures("handles")
def test_a_file_that_its_holder_removed_meanwhile_is_not_enough(
    target: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    file, real, times = target.with_name("00000.h5.lock"), fcntl.flock, [0]

    def flock(handle: int, operation: int) -> None:
        real(handle, operation)
        times[0] += 1
        if times[0] == 1:
            file.unlink()  # by the holder that was waited for

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = Lock(target)
    assert times == [2]
    with refused(error=BeingWritten):
        Lock(target)
    lock.release()


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_locks_nobody_is_refused(number: int, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    one, two = Lock(target), Lock(target)
    one.release()
    two.release()
    assert os.listdir(target.parent) == []


@pytest.mark.usefixtures("handles")
def test_a_broken_disk_is_reported(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", broken)
        with pytest.raises(OSError, match="Input/output"):
            Lock(target)
    Lock(target).release()


@pytest.mark.usefixtures("handles")
def test_a_full_disk_leaves_the_lock_free(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            Lock(target)
    Lock(target).release()
    assert os.listdir(target.parent) == []


@pytest.mark.usefixtures("handles")
def test_it_is_let_go_even_where_its_file_cannot_be_removed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(target)

    def broken(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "remove", broken)
        with pytest.raises(OSError, match="Input/output"):
            lock.release()
    Lock(target).release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_keep_its_dead_parents_lock(target: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from featurecache.shards.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    lock.release(); print('child', flush=True); time.sleep(30); os._exit(0)\n"
        "time.sleep(30)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "child\n"
        with pytest.raises(BeingWritten):  # the child let go of its copy only
            Lock(target)
        parent.kill()
        parent.wait()
        Lock(target).release()
        subprocess.run(["pkill", "-f", str(target)], check=False)
