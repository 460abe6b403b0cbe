"""What a shell proposes where a command line is completed with the Tab key, by argcomplete."""
import os
import re

from vai_q_tf.command_line.parse import parser
from vai_q_tf.configuration.options import COMMANDS
from vai_q_tf.dpu import TARGETS

_FILES, _DIRECTORIES = ('FILE', 'PREFIX'), ('DIR',)


def complete():
    """Writes the proposals for the line that the shell gave, and ends the process; without argcomplete there are none."""
    try:
        import argcomplete
    except ImportError:
        return
    commands = [name for name, _ in COMMANDS]
    words = re.findall(r'\S+', os.environ.get('COMP_LINE', ''))
    command = next((word for word in words[1:] if word in commands), None)
    actions = []
    result = parser(command, actions.append)
    for action in actions:
        if action.dest == 'command':
            action.completer = argcomplete.completers.ChoicesCompleter(commands)
        elif action.metavar in _DIRECTORIES:
            action.completer = argcomplete.completers.DirectoriesCompleter()
        elif action.metavar not in _FILES:
            action.completer = argcomplete.completers.ChoicesCompleter(_choices(action.metavar or ''))
    argcomplete.autocomplete(result, always_complete_options='long' if command else False)


def _choices(metavar):
    """The words that a placeholder such as {pb,onnx} stands for."""
    if metavar == 'TARGET':
        return sorted(TARGETS)
    return metavar[1:-1].split(',') if metavar.startswith('{') else []
