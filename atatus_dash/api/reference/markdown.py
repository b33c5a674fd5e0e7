"""Markdown as HTML. Imported when a page needs it, because importing markdown-it takes 30 ms."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from accounts.templatetags.ui import highlight

from .guides import EXAMPLE_ORIGIN, LIST, all_guides, anchor

#: The URL of a guide's page, by its name.
UrlOf = Callable[[str], str]


def in_html(text: str, origin: str, url_of: UrlOf) -> SafeString:
    """Markdown with the address of this server. HTML, and a link to a file that isn't a guide, become text."""
    tokens = _MARKDOWN.parse(text.replace(EXAMPLE_ORIGIN, origin))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[position + 1].content))
        elif token.type == "table_open":
            token.attrSet("class", "ref-table plain-table")
        elif token.type == "th_open" and not tokens[position + 1].content:
            token.tag = tokens[position + 2].tag = "td"  # an empty header names no column
        elif token.type == "inline" and token.children:
            token.children = list(_relinked(token.children, url_of))
    return _rendered(tokens)


@lru_cache(maxsize=2048)
def inline(text: str) -> SafeString:
    """One paragraph of a description as HTML. Its links are left out, because it isn't part of a page of Markdown."""
    [token] = _MARKDOWN.parseInline(" ".join(text.split()))
    token.children = list(_relinked(token.children or [], lambda _: ""))
    return _rendered([token])


def _rendered(tokens: Sequence[Token]) -> SafeString:
    html: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return mark_safe(html)  # noqa: S308  Markdown without HTML


def _relinked(tokens: Sequence[Token], url_of: UrlOf) -> list[Token]:
    kept: list[Token] = []
    is_dropped = False
    for token in tokens:
        if token.type == "link_open":
            url = _url(str(token.attrGet("href")), url_of)
            is_dropped = not url
            token.attrSet("href", url)
        if not (is_dropped and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept


def _url(link: str, url_of: UrlOf) -> str:
    """The URL for a link of a guide. Empty if the file is not part of the reference."""
    if link.startswith(("https://", "#")):
        return link
    path, mark, fragment = link.partition("#")
    name = path.removesuffix(".md")
    if path == LIST or name in {guide.name for guide in all_guides()}:
        url = url_of("" if path == LIST else name)
        return f"{url}{mark}{fragment}" if url else ""
    return ""


class _Renderer(RendererHTML):
    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A block of code with a button that copies it."""
        env["blocks"] = env.get("blocks", 0) + 1
        id, text = f"code-{env['blocks']}", tokens[idx].content.rstrip("\n")
        button = render_to_string("components/_copy.html", {"of": id, "name": f"Copy block {env['blocks']}"})
        block = '<div class="snippet-box"><pre class="snippet" id="{}">{}</pre>{}</div>\n'
        return format_html(block, id, highlight(text), button)


_MARKDOWN = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
