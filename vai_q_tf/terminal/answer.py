"""The answer of a command, printed on stdout."""
from typing import Callable, NamedTuple

from vai_q_tf.terminal.json_text import json_text


class Answer(NamedTuple):
    """An answer as text, a function that returns it as JSON, and the exit status of the command."""
    text: str
    to_json: Callable[[], str]
    status: int = 0


def sentence(text: str) -> Answer:
    """An Answer that is only a sentence."""
    return Answer(text, lambda: json_text({'text': text}))
