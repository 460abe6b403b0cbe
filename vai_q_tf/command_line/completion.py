"""Completion of a command line with the Tab key of a shell, by argcomplete."""
import argparse
import os
import re
from typing import List

from vai_q_tf.command_line.parse import CommandParser
from vai_q_tf.configuration.options import COMMANDS
from vai_q_tf.dpu import TARGETS

_FILES, _DIRECTORIES = ('FILE', 'PREFIX'), ('DIR',)


def complete() -> None:
    """Writes the proposals for the line in COMP_LINE, and ends the process; without argcomplete it returns."""
    try:
        import argcomplete
    except ImportError:
        return
    commands = [name for name, _ in COMMANDS]
    words = re.findall(r'\S+', os.environ.get('COMP_LINE', ''))
    command = next((word for word in words[1:] if word in commands), None)
    parser = CommandParser(command)
    for argument in parser.arguments:  # the ignored type: only argcomplete knows the attribute
        if argument.metavar in _DIRECTORIES:
            argument.completer = argcomplete.completers.DirectoriesCompleter()  # type: ignore
        elif argument.metavar not in _FILES:
            argument.completer = argcomplete.completers.ChoicesCompleter(_choices(argument))  # type: ignore
    argcomplete.autocomplete(parser, always_complete_options='long' if command else False)


def _choices(argument: argparse.Action) -> List[str]:
    """The words that can be the value of an argument."""
    if argument.dest == 'command':
        return [name for name, _ in COMMANDS]
    placeholder = str(argument.metavar)
    if placeholder == 'TARGET':
        return sorted(TARGETS)
    return placeholder[1:-1].split(',') if placeholder.startswith('{') else []
