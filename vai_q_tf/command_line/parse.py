"""From the words of a command line to checked values."""
import argparse
import re

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.option_values import check_text, from_text
from vai_q_tf.configuration.options import COMMANDS, CONFIG, EVERYWHERE, EXIT_STATUSES, GROUPS, ROWS, SHORT, SWITCH, USED
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.dpu import find_target
from vai_q_tf.terminal.streams import say


class UsageError(errors.QuantizeError):
    """A command line that does not name a command, or has an unknown option."""

    def __init__(self, message):
        super().__init__(errors.INVALID_CONFIG, 'Invalid command line', message)


class _Default(str):
    """The text of an option that the command line does not have."""


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
    shown = command if command in commands else 'COMMAND'
    result = _Parser(
        prog='vai_q_tensorflow', formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
        usage='vai_q_tensorflow {}{} [--option VALUE] [--option=VALUE] ...'.format(shown, ' A B' * (shown == 'compare')),
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
            if kind == SWITCH:
                group.add_argument('--' + name, *([SHORT[name]] if name in SHORT else []), action='store_true', help=text)
                continue
            shown = getattr(config, name) if kind == CONFIG else default
            text_of_default = None if kind == CONFIG or default is None else _Default(default)
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
    """The options as a Namespace of checked values, with the QuantizeConfig as `config`, and the path of --config as
    `config_file`, whose values count where the command line has none.

    Raises:
      UsageError: no known command, an unknown or ambiguous option. QuantizeError: a value that an option does not take; a
        configuration file that cannot be read.
    """
    options, others = parser().parse_known_args(_join_negative(arguments))
    if options.version:
        return options
    options.sides = [other for other in others if other[:1] != '-'] if options.command == 'compare' else []
    for other in others:
        if other in options.sides:
            check_text('input', other)
            continue
        name = other.partition('=')[0]
        raise UsageError('unknown {} {!r}{}'.format('option' if name.startswith('-') else 'argument', name, errors.did_you_mean(
            name, ['--' + row[0] for row in ROWS], most=2, shown=str)))
    options.config_file = options.config
    in_file = read_config_file(options.config_file) if options.config_file else {}
    options.command = options.command or in_file.get('command')
    commands = [name for name, _ in COMMANDS]
    if options.command not in commands:
        raise UsageError('{}; choose one of {}. See vai_q_tensorflow --help'.format(
            'unknown command {!r}'.format(options.command) if options.command else 'no command', ', '.join(commands)))
    fields = {name: value for name, value in in_file.items() if name in CHECKS}
    for name, kind, _, _, _ in ROWS:
        text = '--' if getattr(options, name) == [] else getattr(options, name)  # [] is what argparse makes of --name=--
        if kind == SWITCH:
            setattr(options, name, text or in_file.get(name, False))
        elif kind == CONFIG:
            if text is not None:
                fields[name] = from_text(name, text)
        elif name in in_file and (text is None or isinstance(text, _Default)):
            setattr(options, name, in_file[name])
        elif text is not None:
            setattr(options, name, from_text(name, str(text)))
    if options.quiet and options.verbose:
        raise UsageError('--quiet and --verbose are opposites; give one of the two')
    options.config = _config(fields)
    return options


def _join_negative(arguments):
    """`--option -1,2` as `--option=-1,2`: argparse takes a value that begins with a minus sign for an option."""
    joined = []
    for argument in arguments:
        if joined and re.match(r'--\w+$', joined[-1]) and re.match(r'-\d', argument):
            joined[-1] += '=' + argument
        else:
            joined.append(argument)
    return joined


def _config(fields):
    config = QuantizeConfig(**fields)
    if config.target_type:
        find_target(config.target_type)
        for shape in config.input_shapes:
            if len(shape) != 4:
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has the shape {}; for a DPU (--target_type) a '
                    'shape has 4 dimensions, such as ?,224,224,3.'.format(shape))
    return config
