"""Draws number_grid.svg: the values of a 4-bit tensor at two positions, and how numbers round and clip to them.

    python docs/pictures/number_grid.py
"""
import os

from vai_q_tf.fixed_point import limits, quantize

BITS, POSITIONS = 4, (1, 2)
INPUTS = (-3.1, -1.375, 0.8, 2.6)
PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'number_grid.svg')
_WIDTH, _LEFT, _UNIT = 760, 400, 78  # pixels: of the picture, of the value 0, of the value 1
_TOP, _ROW = 92, 112  # pixels: of the first grid, between two grids
_ROUNDED, _CLIPPED, _GRID, _INK = '#1a7f37', '#cf222e', '#57606a', '#24292f'
_HEAD = '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"
 font-family="Helvetica, Arial, sans-serif" font-size="13">
<title>A 4-bit tensor at position 1 and at position 2: steps, range, rounding and clipping</title>
<rect width="{width}" height="{height}" fill="#ffffff"/>
'''


def picture() -> str:
    """The text of the SVG file."""
    height = _TOP + _ROW * len(POSITIONS)
    parts = [_HEAD.format(width=_WIDTH, height=height)]
    for x in INPUTS:
        parts.append(_text(_place(x), 24, _number(x), weight='bold'))
        parts.append(_line(_place(x), 30, _place(x), _TOP + _ROW * (len(POSITIONS) - 1) - 34, '#d0d7de', dashes=True))
    for row, position in enumerate(POSITIONS):
        parts += _grid(_TOP + _ROW * row, position)
    y = height - 16
    for x, colour, label in ((220, _ROUNDED, 'rounded to the nearest value'), (450, _CLIPPED, 'clipped to the range')):
        parts += [_line(x - 30, y - 4, x - 8, y - 4, colour, 2), _text(x, y, label, anchor='start')]
    return '\n'.join(parts) + '\n</svg>\n'


def _grid(y, position):
    """The axis of a position with all its values, and an arrow from each input to its value."""
    low, high = limits(position, BITS)
    step = 2.0**-position
    yield _line(_place(low), y, _place(high), y, _GRID, 2)
    for count in range(2**BITS):
        value = low + count * step
        yield _line(_place(value), y - 6, _place(value), y + 6, _GRID, 2)
        if value in (low, 0, high):
            yield _text(_place(value), y + 22, _number(value))
    yield _text(_place(0), y + 40, 'position {}: step {}, q from {} to {}'.format(
        position, _number(step), _number(low / step), _number(high / step)), _GRID)
    for x in INPUTS:
        value = float(quantize(x, position, BITS))
        colour = _ROUNDED if low - step / 2 <= x < high + step / 2 else _CLIPPED
        yield _line(_place(x), y - 34, _place(value), y - 10, colour, 2)
        yield '<circle cx="{:.1f}" cy="{}" r="4.5" fill="{}"/>'.format(_place(value), y, colour)
        if value not in (low, high):
            yield _text(_place(value), y + 22, _number(value), colour)


def _place(value):
    return _LEFT + _UNIT * value


def _number(value):
    return '{:g}'.format(value).replace('-', '\u2212')


def _line(x, y, to_x, to_y, colour, width=1, dashes=False):
    return '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}"{}/>'.format(
        x, y, to_x, to_y, colour, width, ' stroke-dasharray="3 3"' * dashes)


def _text(x, y, text, colour=_INK, weight='normal', anchor='middle'):
    return '<text x="{:.1f}" y="{:.1f}" fill="{}" font-weight="{}" text-anchor="{}">{}</text>'.format(
        x, y, colour, weight, anchor, text)


if __name__ == '__main__':
    with open(PATH, 'w', encoding='utf-8') as stream:
        stream.write(picture())
