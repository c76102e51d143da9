"""What only a Python that has just started can show: what is imported, when, and in which thread."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.unit.codec.codec_records import CREATED, GUIDE, TENANT

FORKED = """
import os
from eventzr_kafka.clock import SYSTEM_CLOCK
if os.fork() == 0:
    print(SYSTEM_CLOCK.random(), flush=True)
    os._exit(0)
os.wait()
print(SYSTEM_CLOCK.random())
"""
OFF_THE_LOOP = """
import asyncio, sys, threading
from eventzr_kafka import EventProducer, KafkaSettings
from eventzr_kafka._confluent import producer as adapter

loop_thread, loaders, makers, turns = threading.get_ident(), [], [], []
sys.addaudithook(lambda event, args: loaders.append(threading.get_ident()) if args[:1] == ("botocore",) else None)

def make_client(*args, make=adapter.make_client):
    makers.append(threading.get_ident())
    before = len(turns)
    client = make(*args)
    print(len(turns) - before)
    return client

async def main():
    adapter.make_client = make_client
    settings = KafkaSettings(brokers="127.0.0.1:1", auth="iam", aws_region="us-east-1")
    starting = asyncio.create_task(EventProducer(settings=settings).__aenter__())
    while not starting.done():
        await asyncio.sleep(0.005)
        turns.append(None)
    await starting
    print(len(loaders), loop_thread in loaders, len(makers), loop_thread in makers)

asyncio.run(main())
"""
WITHOUT_SQLALCHEMY = """
import sys
sys.modules["sqlalchemy"] = None
from eventzr_kafka.inbox import Inbox, MemoryInbox, failed_keys
MemoryInbox()
from eventzr_kafka.inbox import SqlInbox
"""


def test_only_sql_inbox_needs_its_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SQLALCHEMY],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    error = done.stderr.splitlines()[-1]
    assert error == (
        "eventzr_kafka.errors.MissingExtraError: "
        "eventzr_kafka.inbox.SqlInbox needs an extra: pip install 'eventzr-kafka[outbox]'"
    )


def test_bare_decode_finds_installed_class() -> None:
    code = (
        "import sys; from eventzr_kafka import decode, Record; assert 'eventzr_marketplace_events' not in sys.modules;"
        f"event = decode(Record({CREATED!r}, 0, 0, {TENANT!r}, {GUIDE!r})); print(type(event.data).__name__)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "ListingCreated"


def test_vain_lookup_imports_the_events() -> None:
    code = (
        "import sys; from eventzr_kafka.events import catalogue as c; "
        "seen = 'eventzr_marketplace_events' in sys.modules;"
        "print(seen, c.lookup('eventzr.wallet.escrow.released.v1').__name__, c.lookup('nobody'))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.strip() == "False EscrowReleased None"


def test_testing_kit_imports_no_client() -> None:
    code = "import sys; from eventzr_kafka.testing import MemoryBroker; MemoryBroker()"
    heavy = "print([name for name in ('confluent_kafka', 'pytest', '_pytest') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}; {heavy}"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_forked_child_draws_anew() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert first != second


@pytest.mark.parametrize("hidden", ["cyclopts", "rich"])
def test_command_names_its_missing_extra(hidden: str) -> None:
    code = f"import sys; sys.modules[{hidden!r}] = None; from eventzr_kafka.cli import main; main(['--version'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)

    assert done.stderr == "the command eventzr-kafka needs an extra: pip install 'eventzr-kafka[cli]'\n"
    assert done.returncode == 2


def test_other_missing_module_is_no_extra() -> None:
    code = "import sys; sys.modules['confluent_kafka'] = None; from eventzr_kafka.cli import main; main(['--version'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)

    assert "ModuleNotFoundError: import of confluent_kafka halted" in done.stderr
    assert "eventzr-kafka[cli]" not in done.stderr


def test_signer_and_client_leave_the_loop_free() -> None:
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE7Q", "AWS_SECRET_ACCESS_KEY": "hush"}
    done = subprocess.run(
        [sys.executable, "-c", OFF_THE_LOOP], env=environ, capture_output=True, text=True, check=True, timeout=240
    )

    turns, threads = done.stdout.splitlines()
    assert threads == "1 False 1 False"
    assert int(turns) >= 3  # making the client waits for a second: about 200 turns, and none if it blocks the loop
