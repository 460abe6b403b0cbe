"""What a command has to say on stdout."""
from typing import Callable, NamedTuple

from vai_q_tf.terminal.json_text import json_text


class Answer(NamedTuple):
    """text: for people. to_json: a function that gives the same as a JSON text. status: the exit status of the command."""
    text: str
    to_json: Callable[[], str]
    status: int = 0


def printed(answer, as_json):
    """The text of an Answer, or of a command that has but a sentence to say; its JSON where that is wanted."""
    if not isinstance(answer, Answer):
        text, answer = answer, Answer(answer, lambda: json_text({'text': text}))
    return answer.to_json().rstrip('\n') if as_json else answer.text
