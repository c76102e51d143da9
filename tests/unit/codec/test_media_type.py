import pytest

from eventzr_kafka.codec.media_type import charset_of, is_json, is_text


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "application/json",
        "text/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf-8",
        "application/vnd.eventzr.listing+json",
        "application/problem+JSON ; v=1",
        "image/svg+json",
    ],
)
def test_json_subtype_or_no_media_type_is_json(media_type: str | None) -> None:
    assert is_json(media_type)


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/xml", "application/jsonl", "application/x-json", "a/b; c=d/json", "json/a"],
)
def test_other_types_are_no_json(media_type: str) -> None:
    assert not is_json(media_type)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "TEXT/Html; charset=utf-8", "text/xml", "application/xml", "image/svg+XML; a=b"]
)
def test_text_is_every_text_type_and_xml(media_type: str) -> None:
    assert is_text(media_type)


@pytest.mark.parametrize("media_type", [None, "application/json", "image/png", "a/b; c=text/xml", "application/xmlish"])
def test_other_types_are_no_text(media_type: str | None) -> None:
    assert not is_text(media_type)


@pytest.mark.parametrize(
    ("media_type", "charset"),
    [
        (None, "utf-8"),
        ("text/plain", "utf-8"),
        ("text/plain; format=flowed", "utf-8"),
        ("text/plain; charset=UTF-16", "utf-16"),
        ("text/plain;a=b; Charset = latin-1 ", "latin-1"),
        ('text/plain; charset="ISO-8859-1"', "iso-8859-1"),
        ('text/plain; a="b;charset=utf-16"; charset=utf-8', "utf-8"),
        ('text/plain; a="\\";charset=utf-16"', "utf-8"),
    ],
)
def test_charset_is_the_parameter_or_utf_8(media_type: str | None, charset: str) -> None:
    assert charset_of(media_type) == charset
