"""The pages on the commands: the texts in docs/generator/pages/commands, with tables of options."""
import re
from typing import Dict, Iterable, List

from docs.generator.markdown import code, page_from, sentence, table
from docs.generator.values import allowed_of_option, default_of
from vai_q_tf.command_line.parse import usage
from vai_q_tf.configuration.options import COMMANDS, EVERYWHERE, EXIT_STATUSES, GROUPS, REQUIRED, SHORT, SWITCH, USED, Option

_OUTCOMES = (0, 1)  # the exit statuses of every command that are not those of a signal


def pages() -> Dict[str, str]:
    """{path in docs/reference: page} of the index and of each command."""
    found = {'commands/index.md': _page('index', {
        'commands': table(('command', 'task'), [('[`{0}`]({0}.md)'.format(name), sentence(text)) for name, text in COMMANDS]),
        'statuses': table(('exit status', 'meaning'), [(code(number), sentence(text)) for number, text in EXIT_STATUSES]),
        'options': _options(EVERYWHERE)})}
    for name, _ in COMMANDS:
        found['commands/{}.md'.format(name)] = _page(name, {
            'usage': '```console\n{}\n```'.format(usage(name, 100)), 'options': _tables(name),
            'statuses': table(('exit status', 'meaning'), [
                (code(number), sentence(text)) for number, text in EXIT_STATUSES
                if number in _OUTCOMES or name in text])})
    return found


def _page(name: str, parts: Dict[str, str]) -> str:
    return page_from('commands_pages.py', 'commands/' + name, parts)


def _tables(command: str) -> str:
    """The options that a command reads besides EVERYWHERE, a table for each group."""
    parts: List[str] = []
    for title, options in GROUPS:
        names = [option.name for option in options if option.name in USED[command]]
        if names:
            parts += ['### {}'.format(title[0].upper() + title[1:]), _options(names, command)]
    return '\n\n'.join(parts)


def _options(names: Iterable[str], command: str = '') -> str:
    options = {option.name: option for _, group in GROUPS for option in group}
    return table(('option', 'values', 'default', 'meaning'), [_row(options[name], command) for name in names])


def _row(option: Option, command: str) -> List[str]:
    help_text, _, default = option.help.partition('. Default: ')
    if option.name in REQUIRED.get(command, ()):
        default = 'required'
    elif option.kind == SWITCH:
        default = 'off'
    braces = option.placeholder is None or option.placeholder.startswith('{')
    text = '--{}{}'.format(option.name, '' if braces else ' ' + str(option.placeholder))
    short = ', `{}`'.format(SHORT[option.name]) if option.name in SHORT else ''
    default = re.sub(r'--\w+', r'`\g<0>`', default) or code(default_of(option)) or 'none'
    return ['`{}`{}'.format(text, short), allowed_of_option(option), default,
            sentence(re.sub(r'^{}: '.format(command), '', help_text))]
