"""Clients that are open when a process ends: after threads, in forked children, in children of `multiprocessing`."""

from __future__ import annotations

import subprocess
import sys

CLIENT = """
import multiprocessing, os, sys, threading, time
from eventzr_kafka.lifecycle.process import forget_open, note_open

class Client:
    def __init__(self, name):
        self.name = name
        note_open(self)
    def end_at_exit(self, deadline):
        assert 0 < deadline - time.monotonic() <= 10
        print(self.name, "ended", flush=True)

"""


def run(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT + script], capture_output=True, text=True, timeout=60, check=True
    )
    return sorted(done.stdout.splitlines())


def test_client_ends_after_last_thread() -> None:
    script = """
client = Client("open")
closed = Client("closed")
forget_open(closed)
threading.Timer(0.1, print, ["a thread"], {"flush": True}).start()
"""
    assert run(script) == ["a thread", "open ended"]


def test_broken_client_leaves_others_to_end() -> None:
    script = """
class Broken(Client):
    def end_at_exit(self, deadline):
        super().end_at_exit(deadline)
        raise OSError
clients = [kind(str(number)) for number in range(3) for kind in (Client, Broken)]
"""
    assert run(script) == ["0 ended", "0 ended", "1 ended", "1 ended", "2 ended", "2 ended"]


def test_fork_leaves_parents_clients_alone() -> None:
    script = """
client = Client("parent")
if os.fork() == 0:
    own = Client("child")
    sys.exit()
os.wait()
"""
    assert run(script) == ["child ended", "parent ended"]


def test_child_ends_its_own_clients() -> None:
    script = """
client = Client("parent")
def work():
    global own
    own = Client("child")
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
    assert run(script) == ["child ended", "parent ended"]
