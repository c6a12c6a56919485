"""Makes objects show themselves in notebooks, as pages with pictures."""

import html


class Shown:
    """An object that notebooks show as a page, drawn by `must_tf.report.notebook`.

    The report is reached through the lazy names of the package: what is drawn imports nothing that draws.
    """

    def _repr_html_(self) -> str:
        import must_tf

        return framed(must_tf.report.notebook.page_of(self))


def framed(page: str) -> str:
    """Returns a frame with a whole page of HTML in it: its style and that of the notebook do not meet."""
    return f'<iframe srcdoc="{html.escape(page)}" style="width: 100%; height: 32rem; border: 0"></iframe>'
