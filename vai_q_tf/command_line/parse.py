"""From the words of a command line to checked values."""
import argparse
import re

from vai_q_tf import errors
from vai_q_tf.command_line.options import (
    COMMANDS,
    CONFIG,
    COUNT,
    EVERYWHERE,
    EXIT_STATUSES,
    FLAG,
    GROUPS,
    NAME_LISTS,
    NUMBER,
    OPTIONAL,
    ROWS,
    SHORT,
    TEXT,
    USED,
    WORDS,
)
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import find_target
from vai_q_tf.terminal.streams import say


class UsageError(errors.QuantizeError):
    """A command line that does not name a command, or has an unknown option."""

    def __init__(self, message):
        super().__init__(errors.INVALID_CONFIG, 'Invalid command line', message)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message)

    def print_help(self, file=None):
        say(self.format_help().rstrip())


class _Help(argparse.Action):
    def __call__(self, parser_, namespace, values, option_string=None):
        parser(namespace.command).print_help()
        parser_.exit()


def parser(command=None, note=lambda action: None):
    """The ArgumentParser; it leaves all values of options as text.

    command: whose options its help shows; None, or one that there is not, for all commands and options.
    note: function that is told each argument that has a value, as an argparse.Action.
    """
    commands = dict(COMMANDS)
    used = USED[command] + EVERYWHERE if command in commands else [row[0] for row in ROWS]
    result = _Parser(
        prog='vai_q_tensorflow', formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
        usage='vai_q_tensorflow {} [--option VALUE] [--option=VALUE] ...'.format(command if command in commands else 'COMMAND'),
        description=_description(command, commands), epilog=_epilog())
    note(result.add_argument('command', nargs='?', help=argparse.SUPPRESS))
    result.add_argument('-h', '--help', nargs=0, action=_Help, help='show this help and exit; that of a command after it')
    result.add_argument('--version', action='store_true', help='show the version and exit')
    config = QuantizeConfig()
    for title, rows in GROUPS:
        group = result.add_argument_group(title)
        for name, kind, default, metavar, text in rows:
            if name not in used:
                text = argparse.SUPPRESS
            if kind is None:
                group.add_argument('--' + name, *([SHORT[name]] if name in SHORT else []), action='store_true', help=text)
                continue
            shown = getattr(config, name) if kind == CONFIG else default
            text_of_default = None if kind == CONFIG or default is None else str(default)
            if name in used and shown not in ('', [], None):
                text += ' (default: {})'.format(shown)
            note(group.add_argument('--' + name, metavar=metavar, default=text_of_default, help=text))
    return result


def _description(command, commands):
    if command in commands:
        return '{}: {}.\n\nOptions of other commands are accepted, and have no effect. Options may be shortened.'.format(
            command, commands[command])
    return ('Quantizer for TensorFlow 1.15. Every option is accepted with every command and may be shortened.\n\ncommands:\n'
            + '\n'.join('  {:13}{}'.format(*row) for row in COMMANDS)
            + '\n\n`vai_q_tensorflow COMMAND --help` shows the options that a command uses.')


def _epilog():
    return ('exit status:\n' + '\n'.join('  {:<13}{}'.format(*row) for row in EXIT_STATUSES)
            + '\n\nQuantization-aware training is a Python API: see the module vai_q_tensorflow.')


def parse(arguments):
    """The options as a Namespace of checked values, with the QuantizeConfig as `config`.

    Raises:
      UsageError: no known command, an unknown or ambiguous option. QuantizeError: a value that an option does not take.
    """
    options, others = parser().parse_known_args(_join_negative(arguments))
    if options.version:
        return options
    for other in others:
        name = other.partition('=')[0]
        raise UsageError('unknown {} {!r}{}'.format('option' if name.startswith('-') else 'argument', name, errors.did_you_mean(
            name, ['--' + row[0] for row in ROWS], most=2, shown=str)))
    commands = [name for name, _ in COMMANDS]
    if options.command not in commands:
        raise UsageError('{}; choose one of {}. See vai_q_tensorflow --help'.format(
            'unknown command {!r}'.format(options.command) if options.command else 'no command', ', '.join(commands)))
    for name, kind, _, _, _ in ROWS:
        if getattr(options, name) == []:  # what argparse makes of --name=--
            setattr(options, name, '--')
        _check_text(name, getattr(options, name))
        if kind not in (None, CONFIG) and getattr(options, name) is not None:
            setattr(options, name, _CONVERT[kind](name, getattr(options, name)))
    if options.quiet and options.verbose:
        raise UsageError('--quiet and --verbose are opposites; give one of the two')
    options.convert_datatype = _datatype(options.convert_datatype)
    if not 0 < options.gpu_memory_fraction <= 1:
        raise _wrong('gpu_memory_fraction', options.gpu_memory_fraction, 'a number above 0 and at most 1')
    options.config = _config(options)
    return options


def _check_text(name, value):
    """TensorFlow takes names of files and nodes in UTF-8 alone."""
    if isinstance(value, str) and re.search('[\0\ud800-\udfff]', value):
        raise _wrong(name, value, 'text in UTF-8')


def _join_negative(arguments):
    """`--option -1,2` as `--option=-1,2`: argparse takes a value that begins with a minus sign for an option."""
    joined = []
    for argument in arguments:
        if joined and re.match(r'--\w+$', joined[-1]) and re.match(r'-\d', argument):
            joined[-1] += '=' + argument
        else:
            joined.append(argument)
    return joined


def _config(options):
    values = {}
    for name, kind, _, _, _ in ROWS:
        text = getattr(options, name) if kind == CONFIG else None
        if text is not None:
            values[name] = _names(text) if name in NAME_LISTS else _shapes(text) if name == 'input_shapes' else text
    config = QuantizeConfig(**values)
    if config.target_type:
        find_target(config.target_type)
        for shape in config.input_shapes:
            if len(shape) != 4:
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has the shape {}; for a DPU (--target_type) a '
                    'shape has 4 dimensions, such as ?,224,224,3.'.format(shape))
    return config


def _names(text):
    return [name.strip() for name in text.split(',') if name.strip()]


def _shapes(text):
    shapes = [[dim.strip() for dim in shape.split(',')] for shape in text.split(':')] if text.strip() else []
    for shape in shapes:
        for dim in shape:
            if dim != '?' and not re.match(r'-?\d+$', dim):
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes is {!r}; {!r} is not an integer. Expected sizes '
                    'separated by commas, ? for an unknown one, and : between nodes.'.format(text, dim))
    return shapes


def _datatype(text):
    if text not in ('0', '1', '2', '3', '4'):
        raise errors.QuantizeError(
            errors.INVALID_TARGET_DTYPE, 'Invalid parameter', '--convert_datatype is {!r}; choose 1 (Float16), 2 (Double), '
            '3 (BFloat16), 4 (Float) or 0 (no conversion).'.format(text))
    return int(text)


def _wrong(name, value, expected):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', '--{} is {!r}; expected {}.'.format(
        name, value, expected))


def _text(name, value):
    if name in WORDS and value not in WORDS[name]:
        raise _wrong(name, value, ' or '.join(WORDS[name]))
    return value


def _flag(name, value):
    if value not in ('0', '1'):
        raise _wrong(name, value, '0 or 1')
    return int(value)


def _count(name, value):
    if not re.match(r'[0-9]{1,18}$', value) or int(value) < 1:
        raise _wrong(name, value, 'an integer of at least 1')
    return int(value)


def _number(name, value):
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float('inf'):
        raise _wrong(name, value, 'a number above 0')
    return number


def _optional(name, value):
    return _number(name, value) if value else None


_CONVERT = {TEXT: _text, FLAG: _flag, COUNT: _count, NUMBER: _number, OPTIONAL: _optional}
