"""How a command ends that has another exit status than 0."""
from typing import NamedTuple


class Ending(NamedTuple):
    """What `run` of a command returns in place of its text: the text, and the exit status."""
    text: str
    status: int
