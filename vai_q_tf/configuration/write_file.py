"""The configuration file of a run: every option with its value, in the order of the table of options."""
import os
import shlex
from typing import Any, Iterator, Mapping, Optional

import yaml

from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import GROUPS, ROWS
from vai_q_tf.configuration.read_file import IMPLICIT, NO_KEYS
from vai_q_tf.version import __version__

CONFIG_FILE = 'quantize_config.yaml'
_WIDTH = 120
_BREAKS = ('\n', '\r', '\x85', '\u2028', '\u2029')
_FIELDS_ONLY = tuple(name for name in CHECKS if name not in {option.name for option in ROWS})
_GROUPS = tuple((title, tuple(option.name for option in options if option.name not in NO_KEYS))
                for title, options in GROUPS) + (
    ('training, and other fields without an option', _FIELDS_ONLY),)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type, and writes lists and text in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes every value in full."""
        return True


_Dumper.add_representer(str, lambda dumper, data: dumper.represent_scalar(
    'tag:yaml.org,2002:str', data, style='"' if len(data.splitlines()) > 1 or data.endswith(_BREAKS) else None))
_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence(
    'tag:yaml.org,2002:seq', data, flow_style=True))
for _tag, _pattern, _first in IMPLICIT:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def to_text(values: Mapping[str, Any], absent: Optional[Mapping[str, str]] = None, command: str = '') -> str:
    """The text of a configuration file, from which `read_config_file` reads the `values` that are not None.

    Args:
      values: {option or field of QuantizeConfig: value}; missing ones are left out.
      absent: {option: why a file cannot have its value}, which is written as a comment.
      command: the command that repeats the run; '' if the values are only those of a QuantizeConfig.
    """
    absent = absent or {}
    lines = list(_head(os.path.join(values.get('output_dir', ''), CONFIG_FILE), command))
    for title, names in _GROUPS:
        entries = ['# {}: {}'.format(name, absent[name]) if name in absent else _line(name, values[name])
                   for name in names if name in values or name in absent]
        lines += ['', '# ' + title] + entries if entries else []
    return '\n'.join(lines) + '\n'


def _head(path: str, command: str) -> Iterator[str]:
    if not command:
        yield '# Written by vai_q_tf {}. QuantizeConfig.from_file reads it.'.format(__version__)
        return
    path = os.path.normpath(path)
    yield '# Written by vai_q_tf {}. In the same working directory, this repeats the run:'.format(__version__)
    yield '#   vai_q_tensorflow --config {}'.format(shlex.quote(path) if path.isprintable() else CONFIG_FILE)
    yield _line('command', command)


def _line(name: str, value: Any) -> str:
    return yaml.dump({name: _plain(value)}, Dumper=_Dumper, default_flow_style=False, width=_WIDTH,
                     allow_unicode=True).rstrip('\n')


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value
