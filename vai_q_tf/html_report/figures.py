"""The plots of a report, by bokeh. The script of the page sets the colours of text and axes."""
import math
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np

from vai_q_tf.analysis.results import TensorError
from vai_q_tf.html_report.contents import Points
from vai_q_tf.html_report.layout import HEIGHT, WIDTH, Layout, lay_out
from vai_q_tf.html_report.network import IN_END, IN_FLOAT, IN_QUANTIZED, IN_SHARED, Box, Quantizer
from vai_q_tf.wording import some_of

FILLS = {IN_QUANTIZED: '#1f5fa8', IN_SHARED: '#7a3d96', IN_FLOAT: '#a8480c', IN_END: '#0b6b62'}
_FIRST, _SECOND = '#3b82c4', '#d9730d'  # lines visible on white and on black
_LINES = ('#3b82c4', '#d9730d', '#2f9e6e', '#b05fc7', '#c9485b', '#8a8f2a', '#4aa3a8', '#9a7b5a')
_DASHES = ('solid', 'dashed', 'dotdash', 'dotted')
_EDGE = '#8a8f98'
_BAD = '#d63a4a'  # limits, and the worst results
_WORST = 5
_SHOWN = 26  # characters of a name in a box
_MOST_NAMED = 8  # lines of a plot with a legend
_POINTS = 1000  # drawn per line

Errors = Mapping[str, TensorError]


def network_figure(boxes: Sequence[Box], errors: Errors) -> Any:
    """The bokeh figure of the network; errors: {name of a quantized tensor: TensorError}, the worst first."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d
    layout = lay_out([box.inputs for box in boxes])
    plot = _figure('network', height=560, x_range=Range1d(0, 1000), y_range=Range1d(-600, 0), match_aspect=False)
    plot.axis.visible = plot.grid.visible = False
    plot.multi_line([[x for x, _ in line] for line in layout.lines], [[y for _, y in line] for line in layout.lines],
                    line_color=_EDGE, line_width=1.2, line_join='round')
    drawn = []
    for is_float in (False, True):
        chosen = [number for number, box in enumerate(boxes) if box.is_float == is_float]
        source = ColumnDataSource(_columns(boxes, layout, chosen, errors), name='float' if is_float else 'quantized')
        style = dict(fill_color='#ffffff', line_color='colour', line_dash='dashed', line_width=2) if is_float else dict(
            fill_color='colour', line_color='frame', line_width='frame_width')
        drawn.append(plot.rect('x', 'y', WIDTH, HEIGHT, source=source, name='boxes', **style))
        for column, place, size in (('name', 9, '10px'), ('detail', -9, '9px')):
            plot.text('x', 'y', column, source=source, y_offset=-place, text_font_size=size, text_align='center',
                      text_baseline='middle', text_color='gray' if is_float else '#ffffff',
                      name='words of float' if is_float else 'words')
    plot.add_tools(HoverTool(renderers=drawn, point_policy='follow_mouse', tooltips=[
        ('name', '@whole'), ('ops', '@ops'), ('state', '@state'), ('result', '@detail'), ('parameters', '@parameters'),
        ('error', '@error')]))
    return plot


def _columns(boxes: Sequence[Box], layout: Layout, chosen: Sequence[int], errors: Errors) -> Dict[str, Sequence]:
    picked = [boxes[number] for number in chosen]
    worst = _worst(boxes, errors)
    return {
        'x': np.array([layout.centres[number][0] for number in chosen]),
        'y': np.array([layout.centres[number][1] for number in chosen]),
        'frame': [_BAD if box in worst else _EDGE for box in picked],
        'frame_width': [4 if box in worst else 0.5 for box in picked],
        'colour': [FILLS[box.kind] for box in picked], 'name': [shortened(box.name) for box in picked],
        'whole': [box.name for box in picked], 'ops': [' + '.join(box.ops) for box in picked],
        'state': [state(box) for box in picked], 'detail': [detail(box, errors) for box in picked],
        'parameters': [', '.join(_place(quantizer) for quantizer in box.parameters) or 'none' for box in picked],
        'error': [error_of(box, errors) for box in picked],
        'tensor': [box.result.name if box.result else '' for box in picked]}


def _worst(boxes: Iterable[Box], errors: Errors) -> List[Box]:
    """The boxes with the worst results; errors: the worst first."""
    ranks = {name: rank for rank, name in enumerate(errors)}
    measured = [(ranks[box.result.name], box) for box in boxes if box.result and box.result.name in ranks]
    return [box for _, box in sorted(measured, key=lambda pair: pair[0])][:max(1, min(_WORST, len(measured) // 4))]


def shortened(name: str, most: int = _SHOWN) -> str:
    """The name, with an ellipsis for its beginning if it is longer than `most` characters."""
    return name if len(name) <= most else '…' + name[1 - most:]


def _place(quantizer: Quantizer) -> str:
    return '{} {} bits at {}'.format(quantizer.name, quantizer.bits, quantizer.position)


def detail(box: Box, errors: Errors) -> str:
    """The result of a box in a few words."""
    words = [box.end] if box.end else []
    if box.is_float:
        words.append('float')
    if box.result:
        words.append('{} bits at {}'.format(box.result.bits, box.result.position))
    elif not box.is_float:
        words.append('forwards')
    if box.shared:
        words.append('shared')
    if box.result and box.result.name in errors:
        words.append(db_text(errors[box.result.name].db))
    return ' · '.join(words)


def state(box: Box) -> str:
    """Whether a box is quantized, as a sentence."""
    words = 'stays float{}'.format(': ' + box.reason if box.reason else '') if box.is_float else 'quantized'
    if box.shared:
        words += ', one position with ' + some_of(box.shared)
    return words


def error_of(box: Box, errors: Errors) -> str:
    """The error of the result of a box in words."""
    error = errors.get(box.result.name) if box.result else None
    return '{}, alone {}'.format(db_text(error.db), db_text(error.alone_db)) if error else 'not measured'


def db_text(value: float) -> str:
    """A signal-to-noise ratio as text."""
    if math.isnan(value):
        return 'not a number'
    return '{:.1f} dB'.format(value).replace('-', '−') if math.isfinite(value) else 'exact' if value > 0 else '−∞ dB'


def depth_figure(tensors: Sequence[TensorError]) -> Any:
    """The bokeh figure of the errors of activations, given from the inputs on."""
    from bokeh.models import ColumnDataSource, HoverTool
    plot = _figure('depth', height=340, y_axis_label='dB', x_axis_label='activation, from the inputs on')
    source = ColumnDataSource({
        'place': list(range(1, len(tensors) + 1)), 'tensor': [tensor.name for tensor in tensors],
        'layer': [tensor.layer for tensor in tensors],
        'db': np.array([_drawable(tensor.db) for tensor in tensors]),
        'alone': np.array([_drawable(tensor.alone_db) for tensor in tensors]),
        'db_text': [db_text(tensor.db) for tensor in tensors],
        'alone_text': [db_text(tensor.alone_db) for tensor in tensors]},
        name='depth')
    plot.line('place', 'alone', source=source, line_color=_SECOND, line_dash='dashed', line_width=1.5)
    marks = [plot.triangle('place', 'alone', source=source, color=_SECOND, size=7, legend_label='alone: what the layer adds')]
    plot.line('place', 'db', source=source, line_color=_FIRST, line_width=2)
    marks.append(plot.circle('place', 'db', source=source, color=_FIRST, size=6, legend_label='with all before it'))
    plot.add_tools(HoverTool(renderers=marks, tooltips=[
        ('tensor', '@tensor'), ('layer', '@layer'), ('with all before it', '@db_text'), ('alone', '@alone_text')]))
    _move_legend(plot, 'above')
    return plot


def histogram_figure() -> Any:
    """The bokeh figure for two histograms; the script of the page fills it."""
    from bokeh.models import ColumnDataSource, Range1d, Span
    plot = _figure('histogram', height=300, x_axis_label='value', y_axis_label='share of the elements in %',
                   y_axis_type='log', x_range=Range1d(-1, 1), y_range=Range1d(1e-3, 100))
    source = ColumnDataSource({'left': [], 'right': [], 'float': [], 'quantized': []}, name='histogram')
    plot.quad(left='left', right='right', bottom=1e-4, top='quantized', source=source, fill_color=_SECOND, fill_alpha=0.55,
              line_color=_SECOND, legend_label='quantized', hatch_pattern='right_diagonal_line', hatch_alpha=0.5)
    plot.quad(left='left', right='right', bottom=1e-4, top='float', source=source, fill_color=_FIRST, fill_alpha=0.35,
              line_color=_FIRST, line_width=1.5, legend_label='float')
    for name in ('least', 'greatest'):
        plot.add_layout(Span(name=name, dimension='height', line_color=_BAD, line_dash='dashed', line_width=1.5))
    _move_legend(plot, 'above')
    return plot


def history_figure(lines: Sequence[Tuple[str, Sequence[int], Sequence[float]]]) -> Any:
    """The bokeh figure of positions over steps; lines: (name, steps, positions) of each tensor."""
    from bokeh.models import HoverTool
    plot = _figure('history', height=340, x_axis_label='step', y_axis_label='position (fractional bits)')
    for number, (name, steps, positions) in enumerate(lines):
        label = dict(legend_label=shortened(name, 40)) if len(lines) <= _MOST_NAMED else {}
        plot.step('step', 'position', mode='after', line_width=2, **_style(number), **label, source={
            'step': np.array(steps), 'position': np.array(positions), 'tensor': [name] * len(steps)})
    if len(lines) <= _MOST_NAMED:
        _move_legend(plot, 'below', 'vertical')
    plot.add_tools(HoverTool(tooltips=[('tensor', '@tensor'), ('from step', '@step'), ('position', '@position')],
                             line_policy='prev'))
    return plot


def loss_figure(losses: Mapping[str, Points]) -> Any:
    """The bokeh figure of losses over steps, `thinned`; losses: {tag: ((step, loss), ...)}."""
    from bokeh.models import HoverTool
    plot = _figure('loss', height=340, x_axis_label='step', y_axis_label='loss')
    for number, (tag, points) in enumerate(sorted(losses.items())):
        steps, values = thinned(points)
        plot.line('step', 'loss', source={'step': steps, 'loss': values, 'tag': [tag] * len(steps)}, line_width=2,
                  legend_label=shortened(tag, 40), **_style(number))
    plot.add_tools(HoverTool(tooltips=[('tag', '@tag'), ('step', '@step'), ('loss', '@loss{0.0000}')], mode='vline'))
    _move_legend(plot, 'above')
    return plot


def thinned(points: Points) -> Tuple[List[int], List[float]]:
    """(steps, losses), at most 1000 each: means over neighbouring finite losses, at the last of their steps."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    count = -(-len(finite) // _POINTS) or 1
    groups = [finite[start:start + count] for start in range(0, len(finite), count)]
    return [group[-1][0] for group in groups], [sum(value for _, value in group) / len(group) for group in groups]


def _style(number: int) -> Dict[str, str]:
    return dict(line_color=_LINES[number % len(_LINES)], line_dash=_DASHES[number // len(_LINES) % len(_DASHES)])


def _drawable(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _move_legend(plot: Any, place: str, orientation: str = 'horizontal') -> None:
    legend = plot.legend[0]
    plot.add_layout(legend, place)
    legend.orientation, legend.margin, legend.padding = orientation, 0, 4
    legend.background_fill_color = legend.border_line_color = None
    legend.label_text_font_size = '12px'


def _figure(name: str, **options: Any) -> Any:
    from bokeh.plotting import figure
    plot = figure(name=name, sizing_mode='stretch_width', tools='pan,wheel_zoom,box_zoom,tap,reset', toolbar_location='above',
                  background_fill_color=None, border_fill_color=None, outline_line_color=_EDGE, outline_line_alpha=0.6,
                  **options)
    plot.toolbar.logo = None
    plot.toolbar.active_scroll = None
    plot.axis.axis_label_text_font_style = 'normal'
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = '12px'
    return plot
