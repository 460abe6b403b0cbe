"""The values that options and fields accept, as their checks describe them in an error."""
import re
from typing import Any, Optional

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.option_values import from_value
from vai_q_tf.configuration.options import CONFIG, SWITCH, Option

_REFUSED = (-7, ['?'])  # no option and no field takes both
_ALLOWED = re.compile(r'(?:expected|choose|a bit width is) (.*)\.$')


def allowed_of_option(option: Option) -> str:
    """The values that an option takes; '' if its placeholder says it all."""
    if option.kind == SWITCH:
        return ''
    if option.placeholder and option.placeholder.startswith('{'):
        return ', '.join('`{}`'.format(word) for word in option.placeholder[1:-1].split(','))
    return _allowed(option.name, from_value)


def allowed_of_field(name: str) -> str:
    """The values that a field of QuantizeConfig takes; '' if its type says it all."""
    return re.sub(r"'(\w+)'", r'`\1`', _allowed(name, lambda field, value: CHECKS[field](field, value)))


def _allowed(name: str, check: Any) -> str:
    for value in _REFUSED:
        try:
            check(name, value)
        except errors.QuantizeError as error:
            found = _ALLOWED.search(error.detail)
            if found:
                return re.sub(r'^one of ', '', found.group(1))
        except TypeError:
            pass
    return ''


def default_of(option: Option) -> Optional[Any]:
    """The default of an option; None if it has none."""
    default = getattr(QuantizeConfig(), option.name) if option.kind == CONFIG else option.default
    return None if default in ('', []) or option.kind == SWITCH else default
