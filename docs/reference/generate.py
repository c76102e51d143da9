"""Write the pages of the reference that come from the code: `make reference`."""

from __future__ import annotations

from pathlib import Path

from eventzr_kafka.settings import variables

HERE = Path(__file__).parent

SETTINGS = """# Settings

`KafkaSettings.from_env()` reads these variables; a field of `KafkaSettings` overrides each in code. This page is made
from the class by `make reference`.

| Variable | Meaning |
|---|---|
{rows}

`KAFKA_BROKERS=boot-….c2.kafka-serverless.us-east-1.amazonaws.com:9098` alone means TLS, MSK IAM and `us-east-1`.
MSK IAM needs `pip install 'eventzr-kafka[msk]'`; the credentials come from AWS's own chain: environment, profile,
container, instance or web identity.
"""


def settings_page() -> str:
    """The text of settings.md."""
    rows = "\n".join(f"| `{variable.name}` | {variable.meaning} |" for variable in variables())
    return SETTINGS.format(rows=rows)


if __name__ == "__main__":
    (HERE / "settings.md").write_text(settings_page())
