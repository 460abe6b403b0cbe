"""The configuration file that a run leaves: every option with the value that it had, in the order of the table of options."""
import os
import shlex
from typing import Any

import yaml

from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import GROUPS, ROWS
from vai_q_tf.configuration.read_file import IMPLICIT, NO_KEYS
from vai_q_tf.version import __version__

CONFIG_FILE = 'quantize_config.yaml'
_WIDTH = 120
_BREAKS = ('\n', '\r', '\x85', '\u2028', '\u2029')
_FIELDS_ONLY = tuple(name for name in CHECKS if name not in {row[0] for row in ROWS})
_GROUPS = tuple((title, tuple(row[0] for row in rows if row[0] not in NO_KEYS)) for title, rows in GROUPS) + (
    ('training, and what no option sets', _FIELDS_ONLY),)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around text that YAML 1.1 or 1.2 would take for something else; lists and texts are in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, lambda dumper, data: dumper.represent_scalar(
    'tag:yaml.org,2002:str', data, style='"' if len(data.splitlines()) > 1 or data.endswith(_BREAKS) else None))
_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence(
    'tag:yaml.org,2002:seq', data, flow_style=True))
for _tag, _pattern, _first in IMPLICIT:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def to_text(values, absent=None, command=''):
    """The text of a configuration file, which `read_config_file` reads as the `values` that are not None.

    Args:
      values: {option or field of QuantizeConfig: value}; those that are not there are left out.
      absent: {option: why it has no value that a file can have}, which becomes a comment.
      command: the command that repeats the run; '' where the values are of a QuantizeConfig alone.
    """
    if command:
        path = os.path.normpath(os.path.join(values.get('output_dir', ''), CONFIG_FILE))
        lines = ['# Written by vai_q_tf {}. In the same working directory, this repeats the run:'.format(__version__),
                 '#   vai_q_tensorflow --config {}'.format(shlex.quote(path) if path.isprintable() else CONFIG_FILE),
                 _line('command', command)]
    else:
        lines = ['# Written by vai_q_tf {}. QuantizeConfig.from_file reads it.'.format(__version__)]
    for title, names in _GROUPS:
        entries = ['# {}: {}'.format(name, absent[name]) if name in (absent or {}) else _line(name, values[name])
                   for name in names if name in values or name in (absent or {})]
        lines += ['', '# ' + title] + entries if entries else []
    return '\n'.join(lines) + '\n'


def _line(name, value):
    return yaml.dump({name: _plain(value)}, Dumper=_Dumper, default_flow_style=False, width=_WIDTH,
                     allow_unicode=True).rstrip('\n')


def _plain(value):
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value
