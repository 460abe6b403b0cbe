"""`python -m docs.generator` writes all generated pages, and removes no others."""
import os
from typing import Dict

from docs.generator import commands_pages

REFERENCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'reference')
_MODULES = (commands_pages,)


def pages() -> Dict[str, str]:
    """{path in docs/reference: text} of all generated pages."""
    return {path: text for module in _MODULES for path, text in module.pages().items()}


def main() -> None:
    """Writes the pages."""
    for path, text in pages().items():
        target = os.path.join(REFERENCE, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'w', encoding='utf-8') as stream:
            stream.write(text)


if __name__ == '__main__':
    main()
