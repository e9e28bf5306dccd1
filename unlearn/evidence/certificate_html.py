"""The certificate as one page of HTML that needs nothing else. Knows the certificate and how it looks."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from unlearn.evidence.certificate import Certificate


def as_html(page: Certificate) -> str:
    """The page; every text in it is escaped."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    loader = PackageLoader("unlearn.evidence", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("certificate.html.jinja")
