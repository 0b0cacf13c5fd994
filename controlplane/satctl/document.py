"""The JSON that satctl prints: `message → plain values`, names as in the contract.

Enum values lose their type's prefix and are in lower case, bytes are hexadecimal, times are RFC 3339, durations are
seconds, 64-bit numbers are numbers; a message that is absent is null, so that every key is always there.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")


def document(message: Message) -> dict[str, Any]:
    """Write a message as plain values."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields if _belongs(message, field)}


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """Name an enum's value for people: `LIFECYCLE_ONLINE → online`; an unknown one by its number."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_") + "_"
    return str(value.name.removeprefix(prefix).lower())


def clean(text: str) -> str:
    """Take control characters out of a text that a peer wrote: a terminal obeys them."""
    return text.translate(_CONTROL)


def _belongs(message: Message, field: Any) -> bool:  # noqa: ANN401 - as `_field`
    # Of a oneof only the member that is set is shown: that is what a oneof says.
    return field.containing_oneof is None or message.HasField(field.name)


def _field(message: Message, field: Any) -> Any:  # noqa: ANN401 - JSON, and a descriptor of two implementations
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(field, item) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case Timestamp():
            return value.ToJsonString()
        case Duration():
            return value.ToMilliseconds() / 1000
        case Message():
            return document(value)
        case bytes():
            return value.hex()
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    return value
