"""Reads configuration files: YAML or JSON with the names of options as keys.

Plain values follow YAML 1.2 and JSON: booleans, numbers and null are written like `true`, `8`, `0.5` and `null`; everything
else is text, such as `on`, `010` or `2024-01-01`.
"""
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set, Union

import yaml

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.option_values import from_value
from vai_q_tf.configuration.options import COMMANDS, ROWS

_MOST_BYTES = 1 << 20
_MOST_DEPTH = 10
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
# Options that are not keys: a file does not name another file.
NO_KEYS = ('config',)
KEYS = ('command',) + tuple(dict.fromkeys([option.name for option in ROWS if option.name not in NO_KEYS] + list(CHECKS)))

# The plain values of YAML 1.2 other than text: tag, pattern and first characters.
IMPLICIT = tuple(('tag:yaml.org,2002:' + name, re.compile(pattern), list(first)) for name, pattern, first in (
    ('null', r'(?:~|null|Null|NULL|)$', ['~', 'n', 'N', '']),
    ('bool', r'(?:true|True|TRUE|false|False|FALSE)$', 'tTfF'),
    ('int', r'[-+]?(?:0|[1-9][0-9]*)$', '-+0123456789'),
    ('float', r'[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$', '-+.0123456789')))


class _Entry(NamedTuple):
    key: str
    line: int  # 0: unknown
    value: Any


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the plain values of YAML 1.2."""
    yaml_implicit_resolvers = {}  # type: ignore  # no stubs


for _tag, _pattern, _first in IMPLICIT:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


def read_config_file(path: Union[str, 'os.PathLike[str]']) -> Dict[str, Any]:
    """The options in a configuration file: {name: value as the command and QuantizeConfig use it}.

    Keys are the names of the options, the fields of QuantizeConfig, and 'command'. A key with the value null is left out.

    Raises:
      QuantizeError: names the file, key and line. INVALID_INPUT: the file cannot be read; INVALID_CONFIG: it is not a
        mapping, or a key is unknown or occurs twice; for a value the code of the option.
    """
    path = os.fspath(path)
    seen: Set[str] = set()
    values = {}
    for entry in _entries(path, _read(path)):
        where = _where(path, entry.line)
        if entry.key not in KEYS:
            raise _invalid(where, 'unknown key {!r}{}'.format(entry.key, errors.did_you_mean(
                entry.key.lstrip('-'), KEYS, most=2) or '; keys are the names of options without --.'))
        if entry.key in seen:
            raise _invalid(where, 'the key {!r} occurs twice; keep one.'.format(entry.key))
        seen.add(entry.key)
        if entry.value is not None:
            values[entry.key] = _checked(where, entry)
    return values


def _checked(where: str, entry: _Entry) -> Any:
    """The value of a key; its errors name the file and line."""
    try:
        return _command(entry.value) if entry.key == 'command' else from_value(entry.key, entry.value)
    except errors.QuantizeError as error:
        code, detail = error.code, error.detail.replace('--' + entry.key, entry.key, 1)
    except TypeError as error:
        code, detail = errors.INVALID_CONFIG, '{}.'.format(str(error).replace('QuantizeConfig.', '', 1))
    raise errors.QuantizeError(code, 'Invalid configuration', '{}: {}'.format(where, detail))


def _command(value: Any) -> str:
    names = [name for name, _ in COMMANDS]
    if value not in names:
        raise TypeError('command is {!r}; choose one of {}'.format(value, ', '.join(names)))
    return value


def _read(path: str) -> str:
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


def _entries(path: str, text: str) -> List[_Entry]:
    try:
        entries = _json_entries(text) if text.lstrip().startswith('{') else None
        return _yaml_entries(path, text) if entries is None else entries
    except RecursionError:
        raise _no_options(path, 'is nested too deeply') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        problem = getattr(error, 'problem', None) or str(error).splitlines()[0]
        raise _invalid(_where(path, mark.line + 1 if mark else 0), 'neither YAML nor JSON: {}.'.format(problem)) from None


def _json_entries(text: str) -> Optional[List[_Entry]]:
    """The entries of a JSON object; None if the text is not JSON."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError:
        return None
    return [_Entry(key, _line_of(text, key), _plain(value)) for key, value in pairs]


class _Pairs(list):
    """The pairs of a JSON object, in their order."""


def _plain(value: Any) -> Any:
    """A JSON value with dicts for objects."""
    if isinstance(value, _Pairs):
        return {key: _plain(entry) for key, entry in value}
    return list(map(_plain, value)) if isinstance(value, list) else value


def _line_of(text: str, key: str) -> int:
    """The line of the last occurrence of a key in JSON, for an error about the second of two; 0 if it is not found."""
    places = list(re.finditer(re.escape(json.dumps(key)) + r'\s*:', text))
    return text.count('\n', 0, places[-1].start()) + 1 if places else 0


def _yaml_entries(path: str, text: str) -> List[_Entry]:
    _check_tokens(path, text)
    loader = _Loader(text)
    root = loader.get_single_node()
    if root is None:
        raise _no_options(path, 'is empty')
    if not isinstance(root, yaml.MappingNode):
        raise _invalid(_where(path, root.start_mark.line + 1), "a configuration is a mapping, with lines such as "
                       "'calib_iter: 20'; this is {}.".format('a list' if isinstance(root, yaml.SequenceNode) else 'text'))
    entries = []
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _invalid(_where(path, line), 'a key is the name of an option.')
        entries.append(_Entry(key.value, line, loader.construct_object(value, deep=True)))
    return entries


def _check_tokens(path: str, text: str) -> None:
    """Refuses anchors, aliases and tags, and nesting so deep that PyYAML, quadratic in the depth, takes long."""
    depth = 0
    for token in yaml.scan(text, _Loader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MOST_DEPTH:
            raise RecursionError
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)):
            raise _invalid(_where(path, token.start_mark.line + 1), '{!r} is a YAML anchor, alias or tag, which is not '
                           'supported; quote text that starts like this.'.format(
                               text[token.start_mark.index:token.end_mark.index]))


def _where(path: str, line: int) -> str:
    return '{!r}, line {}'.format(path, line) if line else repr(path)


def _invalid(where: str, problem: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid configuration', '{}: {}'.format(where, problem))


def _no_options(path: str, problem: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_INPUT, 'Not a configuration', 'The file {!r} {}; expected YAML or JSON with the '
                                'names of options as keys.'.format(path, problem))
