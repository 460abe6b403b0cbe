"""Results as JSON."""
import json
import math


def json_text(value):
    """The JSON text of NamedTuples, dicts, sequences, numbers and texts, at any depth, with an end of line.

    NamedTuples are objects with the names of their fields. null stands for inf and NaN, which JSON does not have.
    """
    return json.dumps(_plain(value), indent=1) + '\n'


def _plain(value):
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, 'tolist'):  # of NumPy
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
