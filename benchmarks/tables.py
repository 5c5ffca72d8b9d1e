"""Results as Markdown."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [heads, *rows]
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in cells)
    return "\n".join([first, "|---" * len(heads) + "|", *others])


def document(title: str, conditions: Iterable[str], *blocks: str) -> str:
    """A file of results: the title, the conditions as a list, then tables and text."""
    return "\n\n".join([f"# {title}", "\n".join(f"- {line}" for line in conditions), *blocks]) + "\n"
