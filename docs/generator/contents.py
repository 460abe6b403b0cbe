"""All generated pages."""
import os
from typing import Dict

from docs.generator import commands_pages, config_page, errors_pages, lint_page, ops_page

REFERENCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'reference')
_MODULES = (commands_pages, config_page, errors_pages, lint_page, ops_page)


def pages() -> Dict[str, str]:
    """{path in REFERENCE: text}."""
    return {path: text for module in _MODULES for path, text in module.pages().items()}
