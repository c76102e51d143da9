"""The room of the inboxes opens without SQLAlchemy; only the SQL inbox asks for it."""

import subprocess
import sys

WITHOUT_SQLALCHEMY = """
import sys
sys.modules["sqlalchemy"] = None
from eventzr_kafka.inbox import Inbox, MemoryInbox, failed_keys
MemoryInbox()
from eventzr_kafka.inbox import SqlInbox
"""


def test_only_the_sql_inbox_needs_its_extra() -> None:
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
