"""The page at `/` of the two APIs, for people who open the address in a browser. Programs get JSON there, as before."""

from collections.abc import Sequence
from html import escape

# What a cell is: a text, or a text with the address that it leads to.
Cell = str | tuple[str, str]

# Nothing of the page comes from another address, and nothing in it runs.
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Vary": "Accept"}

_STYLE = """
:root {color-scheme: light dark}
body {font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1.25rem}
h1 {font-size: 1.75rem; margin: 0}
h2 {font-size: 1.15rem; margin: 2rem 0 .5rem}
.wide {overflow-x: auto}
table {border-collapse: collapse; width: 100%}
th, td {text-align: left; vertical-align: top; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid #8a8f9866}
pre {overflow-x: auto; padding: .75rem 1rem; border: 1px solid #8a8f9866; border-radius: .5rem}
a {color: light-dark(#1f5fa8, #8fc1f5)}
"""


def wants_page(accept: str) -> bool:
    """Whether the header `Accept` is that of a browser. curl and HTTP libraries accept anything, and get JSON."""
    return "text/html" in accept


def front_page(
    title: str,
    about: str,
    links: Sequence[tuple[str, str]],
    table: tuple[str, Sequence[str], Sequence[Sequence[Cell]]],
    example: str = "",
) -> str:
    """The page as HTML. Every text is shown as text, whatever it contains.

    links: (label, address). table: heading, names of the columns, rows. example: a command, shown below the table.
    """
    heading, names, rows = table
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    end = f"<h2>Try it</h2><pre tabindex=0>{escape(example)}</pre>" if example else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p>{escape(about)}</p>"
        f"<p>{' · '.join(map(_cell, links))}</p>"
        f"<h2>{escape(heading)}</h2><div class=wide><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{end}</main></body></html>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text, address = cell
    return f'<a href="{escape(address)}">{escape(text)}</a>'
