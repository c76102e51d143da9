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


def test_an_open_client_is_ended_after_the_last_thread() -> None:
    script = """
client = Client("open")
closed = Client("closed")
forget_open(closed)
threading.Timer(0.1, print, ["a thread"], {"flush": True}).start()
"""
    assert run(script) == ["a thread", "open ended"]


def test_a_client_that_cannot_be_ended_leaves_the_others_to_be() -> None:
    script = """
class Broken(Client):
    def end_at_exit(self, deadline):
        super().end_at_exit(deadline)
        raise OSError
clients = [kind(str(number)) for number in range(3) for kind in (Client, Broken)]
"""
    assert run(script) == ["0 ended", "0 ended", "1 ended", "1 ended", "2 ended", "2 ended"]


def test_a_forked_child_leaves_clients_of_its_parent_alone() -> None:
    script = """
client = Client("parent")
if os.fork() == 0:
    own = Client("child")
    sys.exit()
os.wait()
"""
    assert run(script) == ["child ended", "parent ended"]


def test_a_child_of_multiprocessing_ends_its_own_clients() -> None:
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
