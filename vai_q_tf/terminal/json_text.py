"""Results as JSON."""
import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """The JSON text, with a final newline, of nested NamedTuples, dicts, sequences, numbers and strings.

    NamedTuples become objects with the names of their fields, inf and NaN, which JSON lacks, become null.
    """
    return json.dumps(_plain(value), indent=1) + '\n'


def _plain(value: Any) -> Any:
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, 'tolist'):  # of NumPy
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
