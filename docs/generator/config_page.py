"""The page on the fields of QuantizeConfig, from its docstring, its annotations and its checks."""
import inspect
import re
from typing import Dict, List

from docs.generator.markdown import code, page_from, table
from docs.generator.values import allowed_of_field
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import GROUPS, POST_TRAINING_FIELDS, TRAINING_FIELDS

_OPTIONS = 'Each of these fields is also an option of the commands, with the name of the field: `--{}`.'
_WITHOUT = 'These fields have no option. Set them in Python or in a configuration file.'


def pages() -> Dict[str, str]:
    """{path in docs/reference: page}."""
    parts: List[str] = []
    left = dict.fromkeys(CHECKS)
    for title, options in GROUPS:
        names = [option.name for option in options if option.name in left]
        if names:
            parts += ['## ' + title[0].upper() + title[1:], _OPTIONS.format(names[0]), _fields(names)]
        for name in names:
            del left[name]
    parts += ['## Fields without an option', _WITHOUT, _fields(list(left))]
    return {'quantize_config.md': page_from('config_page.py', 'quantize_config', {'fields': '\n\n'.join(parts)})}


def _fields(names: List[str]) -> str:
    meanings = _meanings()
    default = QuantizeConfig()
    return table(('field', 'type', 'default', 'values', 'acts in', 'meaning'), [
        (code(name), code(_type(name)), code(repr(getattr(default, name))), allowed_of_field(name), _acts_in(name),
         _rich(meanings[name])) for name in names])


def _type(name: str) -> str:
    found = str(QuantizeConfig.__annotations__[name]).replace('typing.', '')
    return re.sub(r"<class '(\w+)'>", r'\1', re.sub(r'Union\[(\w+), NoneType\]', r'Optional[\1]', found))


def _acts_in(name: str) -> str:
    return 'post-training' if name in POST_TRAINING_FIELDS else 'training' if name in TRAINING_FIELDS else 'both'


def _meanings() -> Dict[str, str]:
    """{field: its entry in the docstring}."""
    text = inspect.getdoc(QuantizeConfig) or ''
    entries = re.split(r'\n  (?=\w+: )', text.partition('Args:')[2].partition('\nRaises:')[0])
    return {name: ' '.join(entry.split()) for name, _, entry in (entry.strip().partition(': ') for entry in entries) if name}


def _rich(meaning: str) -> str:
    """The entry as a sentence, with expressions, names of fields and values in quotes as code."""
    fields = '|'.join(name for name in CHECKS if '_' in name)
    expressions = r"(?:{0})(?:=|\*\*)[\w'/ <]*[\w']|(?<!\w)(?:{0})(?!\w)|(?<!\w)'[\w:]+'".format(fields)
    text = ''.join(part if index % 2 else re.sub(expressions, r'`\g<0>`', part)
                   for index, part in enumerate(re.split(r'(`[^`]*`)', meaning)))
    return text[:1].upper() + text[1:] if re.match(r'[a-z]+[ ,]', text) else text
