"""Writes the report: one self-contained HTML file about a model."""
import base64
import hashlib
import json
import pkgutil
import shlex
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import files
from vai_q_tf.analysis.results import TensorError
from vai_q_tf.html_report import figures, tables
from vai_q_tf.html_report.contents import Points, ReportContents
from vai_q_tf.html_report.facts import find_facts
from vai_q_tf.html_report.figures import Errors
from vai_q_tf.html_report.network import Network, find_network
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.version import __version__

REPORT_FILE = 'quantize_report.html'
_MOST_BOXES = 3000  # in the picture of the network
_SHOWN_ROWS = 100  # of the table of tensors before `show all`
_PACKAGE = __name__.rpartition('.')[0]
_POLICY = ("default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
           "form-action 'none'")


def write_report(directory: str, name: str, contents: ReportContents) -> str:
    """Writes ReportContents as the file `name`; returns its path.

    Raises:
      QuantizeError: MISSING_LIBRARY without the packages; INVALID_CONFIG if the file cannot be written.
    """
    return files.write(directory, name, to_html(contents).encode('utf-8', 'replace'))


def report_or_log(directory: str, name: str, make_contents: Callable[[], ReportContents]) -> str:
    """Writes the result of `make_contents()` as `write_report` does; returns the path, or '' after logging an exception."""
    try:
        path = write_report(directory, name, make_contents())
    except Exception as error:  # the model is written, and the training has to continue
        tf.logging.error('No report %s: %s', name, error)
        return ''
    tf.logging.info('The report is %s', path)
    return path


def to_html(contents: ReportContents) -> str:
    """The page of ReportContents. Raises a QuantizeError MISSING_LIBRARY without the packages."""
    require_report()
    network, analysis = find_network(
        contents.model, contents.plan, contents.ends, contents.reasons), contents.analysis
    errors = {tensor.name: tensor for tensor in (analysis.tensors if analysis else ())}
    depth = [errors[name] for name in analysis.depth if name in errors] if analysis else []
    losses = {tag: points for tag, points in contents.losses.items() if points}
    lines = tables.moves(contents.history)
    last = max([contents.step] + [step for step, _, _ in contents.history])
    drawn = tables.drawn_moves(lines, last)
    plots = _plots(network, errors, depth, drawn, losses)
    facts = find_facts(contents, network)
    return _render(plots, errors, contents=contents, summary=contents.summary, analysis=analysis, network=network,
                   facts=facts, model=shlex.quote(dict(facts.files).get('model', 'MODEL.pb')),
                   output=_output(network, errors, depth), depth=depth,
                   depth_words=tables.depth_words(depth), lines=lines, drawn=drawn,
                   moved=sum(len(line.steps) > 1 for line in lines), last=last, losses=losses,
                   positions=tables.position_rows(lines), heads=tables.TENSOR_HEADS, shown_rows=_SHOWN_ROWS,
                   most_boxes=_MOST_BOXES, version=__version__, made=time.strftime('%Y-%m-%d %H:%M'))


def _plots(network: Network, errors: Errors, depth: Sequence[TensorError],
           drawn: Sequence[Tuple[str, Tuple[int, ...], List[float]]], losses: Mapping[str, Points]) -> Dict[str, Any]:
    """{name: bokeh figure} of the plots that have something to show."""
    plots = {}
    if 0 < len(network.boxes) <= _MOST_BOXES:
        plots['network'] = figures.network_figure(network.boxes, errors)
    if depth:
        plots['depth'] = figures.depth_figure(depth)
    if any(tensor.histogram for tensor in errors.values()):
        plots['histogram'] = figures.histogram_figure()
    if drawn:
        plots['history'] = figures.history_figure(drawn)
    if losses:
        plots['loss'] = figures.loss_figure(losses)
    return plots


def _output(network: Network, errors: Errors, depth: Sequence[TensorError]) -> Optional[TensorError]:
    """The TensorError of the worst output, or of the last activation if no output was compared."""
    found = [errors[box.result.name] for box in network.boxes
             if box.end == 'output' and box.result and box.result.name in errors]
    candidates = found or depth[-1:]
    return min(candidates, key=lambda error: error.db) if candidates else None


def _render(plots: Mapping[str, Any], errors: Errors, **values: Any) -> str:
    """The page with bokeh's script, the plots, and the data for our script."""
    import jinja2
    from bokeh.embed import json_item
    from bokeh.resources import Resources
    from markupsafe import Markup
    tensors = list(errors.values())
    rows = tables.tensor_rows(tensors)
    scripts = [*Resources(mode='inline', components=['bokeh'], log_level='error').js_raw, _text('page.js')]
    data = {'names': [tensor.name for tensor in tensors], 'keys': [row.keys for row in rows],
            'histograms': tables.histograms(tensors)}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(decibels=figures.db_text, state=figures.state, detail=lambda box: figures.detail(box, {}),
                               error=lambda box: figures.error_of(box, errors))
    return environment.from_string(_text('page.html')).render(
        values, tensors=tensors, plots=plots, rows=rows, style=Markup(_text('page.css')), scripts=list(map(Markup, scripts)),
        policy=_policy(scripts), page_data=Markup(_json(data)),
        plot_data=Markup(_json({name: json_item(plot) for name, plot in plots.items()})))


def _text(name: str) -> str:
    data = pkgutil.get_data(_PACKAGE, name)
    assert data is not None, name
    return data.decode('utf-8')


def _json(value: Any) -> str:
    """JSON that is safe in a script element."""
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    for character in '<>&':
        text = text.replace(character, '\\u{:04x}'.format(ord(character)))
    return text


def _policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy of a page that runs only these scripts and fetches nothing."""
    digests = [base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode() for script in scripts]
    return _POLICY.format(' '.join("'sha256-{}'".format(digest) for digest in digests))
