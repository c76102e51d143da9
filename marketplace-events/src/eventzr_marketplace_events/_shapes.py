"""Spellings that one field is read from, besides its own: a text for a list of one, an address for an object.

Each is a union in the schema of the field, the own spelling first; what is read has one form, and is written so.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = ["OrElse", "Texts"]


class OrElse:
    """Annotation of a field that is read from another spelling too."""

    def __init__(self, other: Any, convert: Callable[[Any], Any], *, should_be: str, is_usual: bool = False) -> None:
        """Prepare.

        Args:
            other: Type of the other spelling.
            convert: Makes the field's own value of a valid one.
            should_be: Words of the error for what is neither, after "Input should be".
            is_usual: True if it is tried before the own spelling.
        """
        self._other = other
        self._convert = convert
        self._should_be = should_be
        self._is_usual = is_usual

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the own spelling, or else the other one."""
        own, other = handler(source), handler.generate_schema(self._other)
        converted = core_schema.no_info_after_validator_function(self._convert, other)
        return core_schema.union_schema(
            [converted, own] if self._is_usual else [own, converted],
            mode="left_to_right",
            custom_error_type="spelling",
            custom_error_message=f"Input should be {self._should_be}",
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Both spellings for reading, the own one for writing."""
        found = handler(schema)
        own = 1 if self._is_usual else 0
        return found["anyOf"][own] if handler.mode == "serialization" and "anyOf" in found else found


def _alone(text: str) -> list[str]:
    return [text] if text else []


Texts: TypeAlias = Annotated[list[str], OrElse(str, _alone, should_be="a list of texts, or a text")]
"""A list of texts; a text alone is read as a list of one, an empty text as an empty list."""
