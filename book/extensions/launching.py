"""The launch buttons open the notebooks to run (book/handout.py), and not the chapters that the book is built from.

The theme knows one path for each page, the chapter's own in the repository. On a hub the notebook lies in the home of
whoever comes (hub/start.py); Binder writes it while it builds (binder/postBuild); for Colab, which reads from GitHub,
the workflow that publishes the book pushes it to a branch of its own.
"""

from sphinx.application import Sphinx

BRANCH = "handout"  # .github/workflows/book.yml
FOLDER = "_build/handout"  # make handout


def address(provider: str, given: str, page: str, hub: str) -> str:
    """Where a button leads, for the one that the theme made of the chapter's path."""
    match provider:
        case "JupyterHub":
            return f"{hub.rstrip('/')}/hub/user-redirect/lab/tree/{page}.ipynb"
        case "Binder":
            return given.replace("lab/tree/", f"lab/tree/{FOLDER}/")
        case "Colab":
            before, _, after = given.partition("/blob/")
            return f"{before}/blob/{BRANCH}/{after[after.index(page) :]}"
        case _:
            return given


def redirect(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Give the buttons of a page their addresses."""
    hub = app.config.html_theme_options.get("launch_buttons", {}).get("jupyterhub_url", "")
    for group in context.get("header_buttons", []):
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = address(button["text"], button["url"], page, hub)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", redirect, priority=502)  # the theme adds its own at 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}
