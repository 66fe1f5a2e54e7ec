"""Where the launch buttons of the chapters lead: read make's settings, check them, write the theme's options.

    python book/launch.py FILE

REPO_URL, REPO_BRANCH and HUB_URL come from the environment. Without REPO_URL there are no buttons, and FILE holds no
options. FILE is written only when it would change. No address is contacted: a button is a plain link.
"""

import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

WANTED = {
    "REPO_URL": "the repository that holds this book, such as https://github.com/you/bdbook",
    "HUB_URL": "the address of a JupyterHub, such as https://hub.example.org",
    "REPO_BRANCH": "a branch or tag of the repository, such as main",
}
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)  # a part of a host's name, between dots
PATH = re.compile(r"(/[\w.~-]+)*")
BRANCH = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)


class UnusableError(ValueError):
    """A setting that cannot be used; the message says what was given, what is expected and what to do."""


def unusable(name: str, given: str, why: str) -> UnusableError:
    return UnusableError(
        f'{name} is "{given}": {why}. Expected is {WANTED[name]}. Correct it, or leave it out and build without.'
    )


def reachable(host: str) -> bool:
    """Whether a host could be reached by its looks: a name with a dot, localhost, or an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        named = all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
        return named and (len(labels) > 1 or host == "localhost")
    return True


def address(name: str, given: str) -> SplitResult:
    """The parts of an http(s) address that is a host and a path and no more, or UnusableError."""
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise unusable(name, given, f"not a URL ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise unusable(name, given, "it does not begin with https:// or http://")
    if "@" in parts.netloc:
        hidden = given.replace(parts.netloc.rpartition("@")[0], "...")
        raise unusable(name, hidden, "it names a user or a password, and every reader would see it")
    if not reachable(host):
        raise unusable(name, given, f'"{host}" is no host that a reader could reach')
    if "?" in given or "#" in given or not PATH.fullmatch(parts.path.rstrip("/")):
        raise unusable(name, given, "it holds more than a host and a plain path")
    return parts._replace(path=parts.path.rstrip("/"))


def options(repo: str = "", branch: str = "main", hub: str = "") -> dict:
    """The theme's options, html_theme_options, for these settings: none without a repository."""
    if not repo:
        if hub:
            raise UnusableError(
                f'HUB_URL is "{hub}", but REPO_URL is not given, and a hub must fetch the notebooks from somewhere. '
                f"Expected is {WANTED['REPO_URL']}. Give both, or neither and build without buttons."
            )
        return {}
    where = address("REPO_URL", repo)
    where = where._replace(path=where.path.removesuffix(".git"))
    on_github, depth = where.hostname == "github.com", where.path.count("/")
    if depth < 2 or (on_github and depth > 2):
        raise unusable("REPO_URL", repo, "its path is not an owner and a name")
    if not BRANCH.fullmatch(branch):
        raise unusable("REPO_BRANCH", branch, "not the name of one")
    launch = {"notebook_interface": "jupyterlab"}
    if hub:
        launch["jupyterhub_url"] = address("HUB_URL", hub).geturl()
    if on_github:  # Colab reads from no other host, and for Binder the theme spells only well-known hosts right
        where = where._replace(scheme="https", netloc="github.com")
        launch |= {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
    return {
        "repository_url": where.geturl(),
        "repository_branch": branch,
        # The theme names it by the host; of a host that it does not know, it shows and links the same as for this.
        "repository_provider": "gitlab" if "gitlab" in where.hostname else "github",
        "use_repository_button": True,
        "launch_buttons": launch,
    }


def main(file: Path) -> None:
    given = {name: os.environ.get(name, "").strip() for name in WANTED}
    try:
        found = options(given["REPO_URL"], given["REPO_BRANCH"] or "main", given["HUB_URL"])
    except UnusableError as error:
        sys.exit(str(error))
    text = json.dumps(found, indent=1) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
