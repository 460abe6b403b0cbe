"""Colours, if the stream is a terminal that shows them and the user has not disabled them."""
import os
from typing import TextIO

KINDS = ('error', 'warning', 'info')  # of messages
_CODES = {'error': '1;31', 'warning': '1;33', 'info': '36', 'title': '1'}


def coloured(text: str, kind: str, stream: TextIO) -> str:
    """`text` in the colour of a kind of text, 'error', 'warning', 'info' or 'title', if the stream shows colours."""
    wanted = not os.environ.get('NO_COLOR') and os.environ.get('TERM') != 'dumb' and stream.isatty()
    return '\033[{}m{}\033[0m'.format(_CODES[kind], text) if wanted else text
