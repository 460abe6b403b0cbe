"""The page on the codes of errors, and pages on the messages of each code."""
from typing import Dict, List

from docs.generator.markdown import page, page_from, paragraph, table
from docs.generator.raised import Raised, raised
from vai_q_tf import errors

# {page: (title, introduction, codes)}
_GROUPS = {
    'errors/files.md': ('Errors about files and data', 'graphs, checkpoints, dumps and input data', (
        errors.INVALID_INPUT, errors.INVALID_INPUT_FN, errors.NOT_QUANTIZED, errors.MISSING_QUANTIZE_INFO, errors.NOT_FINITE)),
    'errors/options.md': ('Errors about options and the installation', 'options, fields, names of nodes and the installation', (
        errors.INVALID_CONFIG, errors.INVALID_BITWIDTH, errors.INVALID_METHOD, errors.INVALID_TARGET_DTYPE,
        errors.LENGTH_MISMATCH, errors.UNKNOWN_NODE, errors.EMPTY_RANGE, errors.MISSING_LIBRARY, errors.OUT_OF_MEMORY,
        errors.INTERNAL_ERROR)),
    'errors/graphs.md': ('Errors about graphs', 'networks that cannot be quantized as they are', (
        errors.UNSUPPORTED_GRAPH, errors.UNSUPPORTED_OP, errors.ALREADY_QUANTIZED, errors.LEARNING_PHASE,
        errors.GRAPH_HAS_GRADIENTS, errors.GRAPH_FINALIZED, errors.COMPILER_RULES)),
}
_UNFORESEEN = 'Every exception that the quantizer does not foresee gets this code. The summary is the type of the exception.'


def pages() -> Dict[str, str]:
    """{path in docs/reference: page}."""
    messages = raised()
    places = {code: path for path, (_, _, codes) in _GROUPS.items() for code in codes}
    found = {'errors.md': page_from('errors_pages.py', 'errors', {'codes': table(('code', 'cause', 'remedy'), [
        ('[`{0}`]({1}#{2})'.format(code, places[code], code.lower()), cause, cure)
        for code, (cause, cure) in errors.EXPLANATIONS.items()])})}
    for path, (title, about, codes) in _GROUPS.items():
        found[path] = page('errors_pages.py', '# ' + title, paragraph(
            'This page lists the messages about {}, by [code](../errors.md#codes). An ellipsis marks a part of the message '
            'that varies, such as the name of a node.'.format(about)), *(part for code in codes for part in _section(
                code, messages)))
    return found


def _section(code: str, messages: List[Raised]) -> List[str]:
    explanation = errors.EXPLANATIONS[code]
    rows = [(_code(summary), _code(text)) for found, summary, text in messages if found == code]
    return ['## `{}`'.format(code), paragraph('{} {}'.format(*explanation).replace('](', '](../')),
            table(('summary', 'message'), rows) if rows else _UNFORESEEN]


def _code(text: str) -> str:
    """Text as code that may contain backquotes."""
    return '`` {} ``'.format(text) if '`' in text else '`{}`'.format(text)
