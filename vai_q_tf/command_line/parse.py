"""Parses a command line into checked values."""
import argparse
import re
import textwrap
from typing import IO, Any, Callable, List, Mapping, NoReturn, Optional, Sequence

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.option_values import check_text, from_text
from vai_q_tf.configuration.options import (
    ARGUMENTS,
    COMMANDS,
    CONFIG,
    EVERYWHERE,
    EXIT_STATUSES,
    GROUPS,
    REQUIRED,
    ROWS,
    SHORT,
    SWITCH,
    USED,
    Option,
)
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.dpu import find_target
from vai_q_tf.terminal.streams import say

_DESCRIPTIONS = dict(COMMANDS)


class UsageError(errors.QuantizeError):
    """A command line that does not name a command, or has an unknown option."""

    def __init__(self, message: str) -> None:
        super().__init__(errors.INVALID_CONFIG, 'Invalid command line', message)


class CommandParser(argparse.ArgumentParser):
    """Parser of the command line, which leaves all values of options as text, and None for options that are not there.

    Its help shows the options of one command, or everything if `command` is None or unknown.
    """

    def __init__(self, command: Optional[str] = None) -> None:
        super().__init__(
            prog='vai_q_tensorflow', formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
            usage=usage(command, 72), description=_description(command), epilog=_epilog())
        self.arguments = [self.add_argument('command', nargs='?', help=argparse.SUPPRESS)]
        general = self.add_argument_group('general')
        general.add_argument('-h', '--help', nargs=0, action=_Help, help='show this help and exit; after a command, the '
                             'help of that command')
        general.add_argument('--version', action='store_true', help='show the version and exit')
        used = USED[command] + EVERYWHERE if command in USED else [option.name for option in ROWS]
        defaults = QuantizeConfig()
        for title, options in GROUPS:
            add = self.add_argument_group(title).add_argument
            self.arguments += [_add(add, option, _help(option, defaults) if option.name in used else argparse.SUPPRESS)
                               for option in options]

    def error(self, message: str) -> NoReturn:
        """Raises a UsageError."""
        raise UsageError(message)

    def print_help(self, file: Optional[IO[str]] = None) -> None:
        """Prints the help on stdout."""
        say(self.format_help().rstrip())


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        CommandParser(namespace.command).print_help()
        parser.exit()


def _add(add_argument: Callable[..., argparse.Action], option: Option, text: str) -> argparse.Action:
    name = '--' + option.name
    if option.kind == SWITCH:
        return add_argument(name, *([SHORT[option.name]] if option.name in SHORT else []), action='store_true', help=text)
    return add_argument(name, metavar=option.placeholder, help=text)


def _help(option: Option, defaults: QuantizeConfig) -> str:
    default = getattr(defaults, option.name) if option.kind == CONFIG else option.default
    return option.help + ('' if default in ('', [], None) or option.kind == SWITCH else ' (default: {})'.format(default))


def usage(command: Optional[str] = None, width: int = 1000) -> str:
    """How to call a command, with the options that it needs, in lines of `width`; any command if it is None or unknown."""
    if command not in _DESCRIPTIONS:
        return 'vai_q_tensorflow COMMAND [options]'
    placeholders = {option.name: option.placeholder for option in ROWS}
    needed = ['--{}\0{}'.format(name, placeholders[name]) for name in REQUIRED[command]]  # no line ends between the two
    words = ['vai_q_tensorflow', command, ARGUMENTS.get(command, ''), *needed, '[options]']
    text = ' '.join(filter(None, words))
    return textwrap.fill(text, width, subsequent_indent='  ', break_on_hyphens=False).replace('\0', ' ')


def _description(command: Optional[str]) -> str:
    if command in _DESCRIPTIONS:
        return '{}: {}.\n\nOptions of other commands are accepted and ignored.\nYou may abbreviate options.'.format(
            command, _DESCRIPTIONS[command])
    return ('Quantizes TensorFlow 1.15 networks for the DPU.\n\ncommands:\n'
            + '\n'.join('  {:13}{}'.format(*row) for row in COMMANDS)
            + '\n\nEvery command accepts all options and ignores those it does not need.\nYou may abbreviate options.\n'
              '`vai_q_tensorflow COMMAND --help` lists the options of one command.')


def _epilog() -> str:
    return ('exit status:\n' + '\n'.join('  {:<13}{}'.format(*row) for row in EXIT_STATUSES)
            + '\n\nFor quantization-aware training in Python, see the module vai_q_tensorflow.')


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The checked options of a command line, which takes precedence over the file of --config.

    Fields of QuantizeConfig are in `config`, the arguments of `compare` in `sides`. With --version nothing is checked.

    Raises:
      UsageError: no known command, an unknown or ambiguous option.
      QuantizeError: a value that an option does not accept, or a configuration file that cannot be read.
    """
    texts, others = CommandParser().parse_known_args(_join_negative(arguments))
    if texts.version:
        return texts
    sides = _sides(texts.command, others)
    in_file = read_config_file(texts.config) if texts.config else {}
    command = _known_command(texts.command or in_file.get('command'))
    values = {option.name: _value(option, getattr(texts, option.name), in_file) for option in ROWS}
    if values['quiet'] and values['verbose']:
        raise UsageError('--quiet and --verbose are opposites; give one of the two')
    values['config'] = _config({**in_file, **values})
    return argparse.Namespace(version=False, command=command, sides=sides,
                              **{option.name: values[option.name] for option in ROWS if option.kind != CONFIG})


def _join_negative(arguments: Sequence[str]) -> List[str]:
    """Joins `--option -1,2` to `--option=-1,2`, because argparse takes a value with a minus sign for an option."""
    joined: List[str] = []
    for argument in arguments:
        if joined and re.match(r'--\w+$', joined[-1]) and re.match(r'-\d', argument):
            joined[-1] += '=' + argument
        else:
            joined.append(argument)
    return joined


def _sides(command: Optional[str], others: Sequence[str]) -> List[str]:
    """The arguments of `compare`; a UsageError for unknown options, and for arguments of another command."""
    sides = [other for other in others if command == 'compare' and not other.startswith('-')]
    for other in others:
        if other not in sides:
            name = other.partition('=')[0]
            raise UsageError('unknown {} {!r}{}'.format(
                'option' if name.startswith('-') else 'argument', name,
                errors.did_you_mean(name, ['--' + option.name for option in ROWS], most=2, shown=str)))
        check_text('input', other)
    return sides


def _known_command(command: Optional[str]) -> str:
    if command not in _DESCRIPTIONS:
        raise UsageError('{}; choose one of {}. See vai_q_tensorflow --help'.format(
            'unknown command {!r}'.format(command) if command else 'no command', ', '.join(_DESCRIPTIONS)))
    return command


def _value(option: Option, text: Any, in_file: Mapping[str, Any]) -> Any:
    """The value of an option: from the command line, else from the file, else its default.

    Args:
      text: as argparse returns it: text or None, a bool for a SWITCH, [] for --name=--.
    """
    if option.kind == SWITCH:
        return text or in_file.get(option.name, False)
    if text is not None:
        return from_text(option.name, '--' if text == [] else text)
    if option.name in in_file:
        return in_file[option.name]
    return None if option.default is None else from_text(option.name, str(option.default))


def _config(values: Mapping[str, Any]) -> QuantizeConfig:
    """The QuantizeConfig of those values that are its fields, with a known DPU."""
    config = QuantizeConfig(**{name: value for name, value in values.items() if name in CHECKS and value is not None})
    if config.target_type:
        find_target(config.target_type)
        for shape in config.input_shapes:
            if len(shape) != 4:
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has the shape {}; for a DPU (--target_type) a '
                    'shape has 4 dimensions, such as ?,224,224,3.'.format(shape))
    return config
