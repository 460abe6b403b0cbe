"""Colours, where there is a terminal that shows them and a person who wants them."""
import os

KINDS = ('error', 'warning', 'info')  # of messages
_CODES = {'error': '1;31', 'warning': '1;33', 'info': '36', 'title': '1'}


def coloured(text, kind, stream):
    """The text as the stream shows this kind of text, one of 'error', 'warning', 'info' and 'title'."""
    wanted = not os.environ.get('NO_COLOR') and os.environ.get('TERM') != 'dumb' and stream.isatty()
    return '\033[{}m{}\033[0m'.format(_CODES[kind], text) if wanted else text
