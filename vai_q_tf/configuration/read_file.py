"""Configuration files: YAML or JSON with the names of options as keys.

Plain values are read as YAML 1.2 and JSON read them: `true`, `8`, `0.5` and `null` are what they look like, all else is text,
such as `on`, `010` or `2024-01-01`.
"""
import json
import os
import re
from typing import Any, NamedTuple

import yaml

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.option_values import from_value
from vai_q_tf.configuration.options import COMMANDS, ROWS

_MOST_BYTES = 1 << 20
_MOST_DEPTH = 10
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
# The options that say how to run rather than what: a file does not name another file.
NO_KEYS = ('config',)
KEYS = ('command',) + tuple(dict.fromkeys([row[0] for row in ROWS if row[0] not in NO_KEYS] + list(CHECKS)))

# The plain values of YAML 1.2 that are no text: tag, pattern and first characters.
IMPLICIT = tuple(('tag:yaml.org,2002:' + name, re.compile(pattern), list(first)) for name, pattern, first in (
    ('null', r'(?:~|null|Null|NULL|)$', ['~', 'n', 'N', '']),
    ('bool', r'(?:true|True|TRUE|false|False|FALSE)$', 'tTfF'),
    ('int', r'[-+]?(?:0|[1-9][0-9]*)$', '-+0123456789'),
    ('float', r'[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$', '-+.0123456789')))


class _Entry(NamedTuple):
    key: str
    line: int  # 0: not known
    value: Any


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the plain values of YAML 1.2."""
    yaml_implicit_resolvers = {}  # type: ignore


for _tag, _pattern, _first in IMPLICIT:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


def read_config_file(path):
    """The options that a configuration file sets: {name: value as the command and QuantizeConfig have it}.

    Keys are the names of the options, the fields of QuantizeConfig, and 'command'. A key with the value null is left out.

    Raises:
      QuantizeError: what is wrong, in which file, key and line: INVALID_INPUT for what cannot be read, INVALID_CONFIG for
        what is no mapping, a key that is not known or there twice; for a value the code of the option.
    """
    path = os.fspath(path)
    seen, values = set(), {}
    for entry in _entries(path, _read(path)):
        where = _where(path, entry.line)
        if entry.key not in KEYS:
            raise _invalid(where, 'unknown key {!r}{}'.format(entry.key, errors.did_you_mean(
                entry.key.lstrip('-'), KEYS, most=2) or '; keys are the names of options without --.'))
        if entry.key in seen:
            raise _invalid(where, 'the key {!r} is there twice; keep one.'.format(entry.key))
        seen.add(entry.key)
        if entry.value is not None:
            values[entry.key] = _checked(where, entry)
    return values


def _checked(where, entry):
    """The value of a key, with errors that say where it is."""
    try:
        return _command(entry.value) if entry.key == 'command' else from_value(entry.key, entry.value)
    except errors.QuantizeError as error:
        code, detail = error.code, error.detail.replace('--' + entry.key, entry.key, 1)
    except TypeError as error:
        code, detail = errors.INVALID_CONFIG, '{}.'.format(str(error).replace('QuantizeConfig.', '', 1))
    raise errors.QuantizeError(code, 'Invalid configuration', '{}: {}'.format(where, detail))


def _command(value):
    names = [name for name, _ in COMMANDS]
    if value not in names:
        raise TypeError('command is {!r}; choose one of {}'.format(value, ', '.join(names)))
    return value


def _read(path):
    try:
        with open(path, 'rb') as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Cannot read', 'The configuration file {!r}: {}.'.format(
            path, getattr(error, 'strerror', None) or error)) from error
    if len(data) > _MOST_BYTES:
        raise _no_options(path, 'has more than {} bytes'.format(_MOST_BYTES))
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise _no_options(path, 'is not text in UTF-8 (byte {})'.format(error.start)) from None


def _entries(path, text):
    try:
        entries = _json_entries(path, text) if text.lstrip().startswith('{') else None
        return _yaml_entries(path, text) if entries is None else entries
    except RecursionError:
        raise _no_options(path, 'is nested too deeply') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        problem = getattr(error, 'problem', None) or str(error).splitlines()[0]
        raise _invalid(_where(path, mark.line + 1 if mark else 0), 'neither YAML nor JSON: {}.'.format(problem)) from None


def _json_entries(path, text):
    """The _Entries of a JSON object; None for what is no JSON."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError:
        return None
    return [_Entry(key, _line_of(text, key), _plain(value)) for key, value in pairs]


class _Pairs(list):
    """The pairs of a JSON object, in their order."""


def _plain(value):
    """What JSON has as a value, with dicts for objects."""
    if isinstance(value, _Pairs):
        return {key: _plain(entry) for key, entry in value}
    return list(map(_plain, value)) if isinstance(value, list) else value


def _line_of(text, key):
    """The line of the last place where JSON has the key, which is the second one of two; 0 where it is not found."""
    places = list(re.finditer(re.escape(json.dumps(key)) + r'\s*:', text))
    return text.count('\n', 0, places[-1].start()) + 1 if places else 0


def _yaml_entries(path, text):
    depth = 0
    for token in yaml.scan(text, _Loader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MOST_DEPTH:  # its time is quadratic in that
            raise RecursionError
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)):
            raise _invalid(_where(path, token.start_mark.line + 1), '{!r} is an anchor, an alias or a tag of YAML, which have '
                           'no meaning here; put quotes around text that begins so.'.format(
                               text[token.start_mark.index:token.end_mark.index]))
    loader = _Loader(text)
    root = loader.get_single_node()
    if root is None:
        raise _no_options(path, 'is empty')
    if not isinstance(root, yaml.MappingNode):
        raise _invalid(_where(path, root.start_mark.line + 1), "a configuration is a mapping, with lines such as "
                       "'calib_iter: 20'; this is {}.".format('a list' if isinstance(root, yaml.SequenceNode) else 'text'))
    entries = []
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _invalid(_where(path, key.start_mark.line + 1), 'a key is the name of an option.')
        entries.append(_Entry(key.value, key.start_mark.line + 1, loader.construct_object(value, deep=True)))
    return entries


def _where(path, line):
    return '{!r}, line {}'.format(path, line) if line else repr(path)


def _invalid(where, what):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid configuration', '{}: {}'.format(where, what))


def _no_options(path, what):
    return errors.QuantizeError(errors.INVALID_INPUT, 'Not a configuration', 'The file {!r} {}; expected YAML or JSON with the '
                                'names of options as keys.'.format(path, what))
