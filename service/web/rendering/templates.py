"""Templates of pages, pictures and feeds, rendered by Jinja."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.web.http.assets import ASSETS
from service.web.i18n.messages import PAGES, catalogue

if TYPE_CHECKING:
    from jinja2 import Environment


def rendered(template: str, **values: Any) -> bytes:  # noqa: ANN401 - template variables have any type
    """Return a template of `web/templates` with these values, as UTF-8."""
    return _templates().get_template(template).render(**values).encode()


def names() -> list[str]:
    """Return the names of all templates; another file in their folder, such as a backup, is none."""
    return _templates().list_templates(extensions=("html", "svg", "atom"))


def load(name: str) -> None:
    """Compile a template if it is not yet: up to 0.1 s of CPU time on a slow core."""
    _templates().get_template(name)


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - loaded with the first page, not at start

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # an upgrade in place must not change the pages of a running process
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["assets"] = ASSETS
    # The shared header has the messages of the pages, also on the builder, which has its own.
    environment.globals["pages"] = lambda tag: catalogue(tag, PAGES).gettext
    return environment
