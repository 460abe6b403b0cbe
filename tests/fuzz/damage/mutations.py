"""Damages bytes and protobuf messages, driven by a random.Random."""
import struct

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

_INTEGERS = {FieldDescriptor.CPPTYPE_INT32: (-2**31, 2**31 - 1), FieldDescriptor.CPPTYPE_INT64: (-2**63, 2**63 - 1),
             FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1), FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1)}
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_NUMBERS = (0., -1., 1e-38, 1e38, -3e38, float('nan'), float('inf'), 1e-3, 1000.)


def damage_bytes(data, random):
    """Bytes with a few of them flipped, zeroed, cut off, repeated or added."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        start = random.randrange(len(data) + 1)
        length = random.choice((1, 4, 16, 200))
        kind = random.choice(('flip', 'flip', 'flip', 'byte', 'byte', 'cut', 'zeros', 'drop', 'repeat', 'insert'))
        if kind == 'flip' and start < len(data):
            data[start] ^= 1 << random.randrange(8)
        elif kind == 'byte' and start < len(data):
            data[start] = random.randrange(256)
        elif kind == 'cut':
            del data[start:]
        elif kind == 'zeros':
            data[start:start + length] = bytes(len(data[start:start + length]))
        elif kind == 'drop':
            del data[start:start + length]
        elif kind == 'repeat':
            data[start:start] = data[start:start + length]
        else:
            data[start:start] = bytes(random.randrange(256) for _ in range(length))
    return bytes(data)


def damage_text(message, random):
    """The message as text, bytes, with a line dropped, repeated, moved or cut."""
    lines = text_format.MessageToString(message).encode().split(b'\n')
    for _ in range(random.choice((1, 1, 3))):
        place, kind = random.randrange(len(lines)), random.choice(('drop', 'repeat', 'move', 'cut', 'characters'))
        if kind == 'drop' and len(lines) > 1:
            del lines[place]
        elif kind == 'repeat':
            lines.insert(place, lines[place])
        elif kind == 'move':
            lines.insert(random.randrange(len(lines)), lines[place])
        elif kind == 'cut':
            lines[place] = lines[place][:random.randrange(len(lines[place]) + 1)]
        else:
            lines[place] = damage_bytes(lines[place], random)
    return b'\n'.join(lines)


def damage_message(message, random):
    """Changes one field somewhere in a protobuf message; returns whether there was one."""
    fields = sorted((field for field, _ in message.ListFields()), key=lambda field: field.number)
    if not fields or random.random() < .03:
        fields = [field for field in message.DESCRIPTOR.fields if field.label != field.LABEL_REPEATED]
        if not fields:
            return False
    field = random.choice(fields)
    if _is_map(field):
        return _damage_map(getattr(message, field.name), field, random)
    if field.label == field.LABEL_REPEATED:
        return _damage_list(getattr(message, field.name), field, random)
    if field.cpp_type == field.CPPTYPE_MESSAGE:
        if random.random() < .1:
            message.ClearField(field.name)
            return True
        return damage_message(getattr(message, field.name), random)
    setattr(message, field.name, _changed(getattr(message, field.name), field, random))
    return True


def _is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _damage_map(entries, field, random):
    value = field.message_type.fields_by_name['value']
    if not entries:
        return False
    key, kind = random.choice(sorted(entries)), random.choice(('change', 'change', 'change', 'drop', 'copy', 'rename'))
    if kind == 'drop':
        del entries[key]
    elif value.cpp_type != value.CPPTYPE_MESSAGE:
        entries[key] = _changed(entries[key], value, random)
    elif kind == 'change':
        return damage_message(entries[key], random)
    else:
        other = random.choice(sorted(entries)) if kind == 'copy' else str(key)[:-1] + 'q'
        entries[other].CopyFrom(entries[key])
        if kind == 'rename':
            del entries[key]
    return True


def _damage_list(items, field, random):
    if not items:
        return False
    place, kind = random.randrange(len(items)), random.choice(('change',) * 5 + ('drop', 'repeat', 'move', 'clear'))
    if kind == 'drop':
        del items[place]
    elif kind == 'clear':
        del items[random.choice((0, place)):]
    elif kind in ('repeat', 'move'):
        copies = list(items)
        copies.insert(random.randrange(len(items) + 1), copies[place] if kind == 'repeat' else copies.pop(place))
        copies = [type(item).FromString(item.SerializeToString()) for item in copies] if field.message_type else copies
        del items[:]
        items.extend(copies)
    elif field.cpp_type == field.CPPTYPE_MESSAGE:
        return damage_message(items[place], random)
    else:
        items[place] = _changed(items[place], field, random)
    return True


def _changed(value, field, random):
    if field.cpp_type in _INTEGERS:
        low, high = _INTEGERS[field.cpp_type]
        return min(high, max(low, random.choice((0, 1, -1, value + 1, value - 1, -value, 7, 127, 2**31 - 1, 2**31, 2**62))))
    if field.cpp_type in _FLOATS:
        return random.choice(_NUMBERS + (-value, value + 1.))
    if field.cpp_type == field.CPPTYPE_BOOL:
        return not value
    if field.cpp_type == field.CPPTYPE_ENUM:
        return random.choice([each.number for each in field.enum_type.values])
    if field.type == field.TYPE_BYTES:
        return _changed_bytes(value, random)
    place = random.randrange(len(value) + 1)
    return random.choice((value[:place], value + 'x', '', value[:place] + random.choice('/:^\u00e9 \x00') + value[place:]))


def _changed_bytes(value, random):
    """Replaces bytes that look like an array of floats, half of the time."""
    if len(value) < 4 or len(value) % 4 or random.random() < .5:
        return damage_bytes(value, random)
    place, number = 4 * random.randrange(len(value) // 4), struct.pack('<f', random.choice(_NUMBERS))
    if random.random() < .2:
        return number * (len(value) // 4)
    return value[:place] + number + value[place + 4:]
