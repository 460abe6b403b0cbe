"""The packages of the extra `[report]`, which are imported inside of this room alone."""
import importlib

from vai_q_tf import errors

_PACKAGES = ('jinja2', 'bokeh', 'grandalf')


def require_report():
    """Raises a QuantizeError MISSING_LIBRARY where `write_report` could not work."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise errors.QuantizeError(
                errors.MISSING_LIBRARY, 'Not installed', 'The report needs jinja2, bokeh and grandalf ({}); install them with: '
                "pip install 'vai_q_tf[report]'".format(error)) from error
