"""What a hub can be told: the variables BDBOOK_HUB_..., read in one place, refused where they make no sense."""

from __future__ import annotations

import errno
import importlib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import roster

from bdbook.errors import unknown

PREFIX = "BDBOOK_HUB_"
ROOT = Path(__file__).resolve().parents[1]
SPAWNERS = ("docker", "simple")
# A name becomes a folder or a volume: no leading dot, no separator; some logins give addresses of mail. JupyterHub
# matches only the beginning: hence \Z.
USERNAME = re.compile(r"^[a-z0-9][a-z0-9._@+-]{0,63}\Z")
CERTIFICATE = ("fullchain.pem", "privkey.pem")
LOGINS = {
    "native": "hub_login.Native",
    "github": "oauthenticator.github.GitHubOAuthenticator",
    "google": "oauthenticator.google.GoogleOAuthenticator",
    "lti13": "ltiauthenticator.lti13.auth.LTI13Authenticator",
}
OAUTH = ("LOGIN_CLIENT", "LOGIN_SECRET", "LOGIN_CALLBACK")
NEEDED = {"github": OAUTH, "google": OAUTH, "lti13": ("LOGIN_CLIENT", "LTI_ISSUER", "LTI_AUTHORIZE", "LTI_KEYS")}
YES_OR_NO = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


def refused(name: str, given: object, expected: str, remedy: str) -> ValueError:
    """An error to raise: what was given, what was expected, what to do."""
    return ValueError(f"{PREFIX}{name} is {str(given)!r}; expected {expected}. {remedy}")


@dataclass(frozen=True)
class Settings:
    """A hub's settings; `read` makes them from the environment. hub/README.md says what each means."""

    spawner: str = "docker"
    address: str = "127.0.0.1"
    port: int = 8000
    tls: Path | None = None
    admins: frozenset[str] = frozenset()
    lecturers: frozenset[str] = frozenset()
    open_signup: bool = False
    image: str = "bdbook:latest"
    bridge: str = "172.17.0.1"
    memory: str = "4G"
    cpus: float = 2.0
    gpu: str = "all"
    gpu_share: float | None = None
    idle_seconds: int = 3600
    state: Path = ROOT / ".hub"
    login: str = "native"
    login_client: str = ""
    login_secret: str = field(default="", repr=False)
    login_secret_file: str = field(default="", repr=False)  # what the file says
    login_callback: str = ""
    login_organisations: frozenset[str] = frozenset()
    lti_issuer: str = ""
    lti_authorize: str = ""
    lti_keys: str = ""
    lti_name: str = "email"
    roster: Mapping[str, str] | None = None  # name -> role
    servers: int = 0
    max_hours: float = 0.0
    config: Path | None = None

    @property
    def secret(self) -> str:
        """What proves to the login's provider that this hub asks."""
        return self.login_secret or self.login_secret_file

    def people(self, role: str) -> set[str]:
        """The names that the roster gives this role, and of admins and lecturers also those set by name."""
        named = {"admin": self.admins, "lecturer": self.lecturers}.get(role, frozenset())
        return {name for name, its in (self.roster or {}).items() if its == role} | named

    @property
    def inner_address(self) -> str:
        """Where students' servers reach the hub: a container's loopback is its own, so docker needs the bridge."""
        return self.bridge if self.spawner == "docker" else "127.0.0.1"

    @property
    def activity_seconds(self) -> int:
        """How often activity is reported: often enough that a server in use never looks idle."""
        return max(1, min(300, self.idle_seconds // 4))

    def listens(self) -> list[tuple[str, int]]:
        """Each address and port that the hub takes: the readers' own, the proxy's orders, the servers' reports."""
        return [(self.address, self.port), ("127.0.0.1", self.port + 1), (self.inner_address, self.port + 2)]


def read(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment asks for; ValueError for one that makes no sense.

    An empty variable counts as unset.
    """
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    for name in given.keys() - known:
        raise unknown("setting of the hub", name, known)
    values = {
        name: parse(name.upper(), given[PREFIX + name.upper()])
        for name, parse in PARSERS.items()
        if PREFIX + name.upper() in given
    }
    settings = Settings(**values)
    _agree(settings)
    return settings


def _agree(settings: Settings) -> None:
    """Refuse settings that are sensible one by one and not together."""
    local = ipaddress.IPv4Address(settings.address).is_loopback
    if settings.spawner == "simple" and not local:
        raise refused(
            "ADDRESS",
            settings.address,
            "127.0.0.1 with the simple spawner, which runs everyone's code under one Unix account",
            "Leave it unset, or set BDBOOK_HUB_SPAWNER=docker.",
        )
    if not local and settings.tls is None:
        raise refused(
            "ADDRESS",
            settings.address,
            "127.0.0.1 where BDBOOK_HUB_TLS is unset, since passwords would cross the network in the clear",
            "Set BDBOOK_HUB_TLS to a folder with a certificate, or put a server that has one before the hub.",
        )
    _agree_on_login(settings)
    if settings.login == "native" and not (settings.admins or settings.open_signup or settings.roster):
        raise refused(
            "ADMINS",
            "",
            "at least one name, since nobody could let a student in",
            "Set it, e.g. to teacher, or let everyone in with BDBOOK_HUB_OPEN_SIGNUP=1.",
        )


def _agree_on_login(settings: Settings) -> None:
    """Refuse a login that lacks something, and what says twice, and differently, who may come in."""
    if settings.login_secret and settings.login_secret_file:
        raise ValueError(f"{PREFIX}LOGIN_SECRET and {PREFIX}LOGIN_SECRET_FILE are both set; expected one. Unset one.")
    there = {name for name in Settings.__dataclass_fields__ if getattr(settings, name)}
    there |= {"login_secret"} if settings.secret else set()
    missing = [PREFIX + name for name in NEEDED.get(settings.login, ()) if name.lower() not in there]
    if missing:
        raise refused(
            "LOGIN",
            settings.login,
            f"with it also {', '.join(missing)}",
            "The provider shows them where you register the hub; a secret may lie in a file that "
            f"{PREFIX}LOGIN_SECRET_FILE names.",
        )
    if settings.roster is not None and settings.open_signup:
        raise refused("OPEN_SIGNUP", 1, "0 with a roster, which says who comes in", "Unset one of them.")
    if settings.roster is not None and settings.login == "github" and settings.login_organisations:
        raise refused(
            "LOGIN_ORGANISATIONS",
            ",".join(sorted(settings.login_organisations)),
            "nothing with a roster, since their members would come in too",
            f"Unset it, or {PREFIX}ROSTER.",
        )
    if settings.login in ("github", "google") and not (
        settings.roster or settings.login_organisations or settings.open_signup
    ):
        raise refused(
            "LOGIN",
            settings.login,
            f"with it {PREFIX}ROSTER or {PREFIX}LOGIN_ORGANISATIONS, since none but admins could come in",
            f"Set one, or let everyone in who has an account there with {PREFIX}OPEN_SIGNUP=1.",
        )


def _spawner(name: str, given: str) -> str:
    if given not in SPAWNERS:
        raise unknown(f"spawner in {PREFIX}{name}", given, SPAWNERS)
    return given


def _address(name: str, given: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if given == "localhost" else given))
    except ValueError as error:
        raise refused(
            name, given, "an IPv4 address of this machine", "Write e.g. 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error


def _port(name: str, given: str) -> int:
    # The two ports above it are the hub's own.
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 65533):
        raise refused(name, given, "a whole number from 1 to 65533", "Unset it for 8000.")
    return int(given)


def _tls(name: str, given: str) -> Path:
    folder = Path(given).expanduser().resolve()
    for file in CERTIFICATE:
        if not os.access(folder / file, os.R_OK):
            raise refused(
                name,
                given,
                f"a folder with {' and '.join(CERTIFICATE)}, and {file} cannot be read there",
                "Certbot makes such a folder for each name; its files belong to root.",
            )
    return folder


def _admins(name: str, given: str) -> frozenset[str]:
    names = frozenset(filter(None, re.split(r"[,\s]+", given)))
    for one in names:
        if not USERNAME.match(one):
            raise refused(
                name,
                given,
                f"names of small letters, digits, dots, dashes and underscores, which {one!r} is not",
                "Write e.g. ada,grace.",
            )
    return names


def _open_signup(name: str, given: str) -> bool:
    if given.lower() not in YES_OR_NO:
        raise refused(name, given, "1 or 0", "With 1 whoever reaches the page is let in; with 0 an admin decides.")
    return YES_OR_NO[given.lower()]


def _image(name: str, given: str) -> str:
    if not re.fullmatch(r"[a-z0-9][\w./:@-]*", given, re.ASCII):
        raise refused(name, given, "the name of a Docker image", "Unset it for bdbook:latest.")
    return given


def _memory(name: str, given: str) -> str:
    if not re.fullmatch(r"0*[1-9]\d*(\.\d+)?[KMGT]", given, re.ASCII):
        raise refused(name, given, "an amount with its unit, K, M, G or T", "Write e.g. 4G.")
    return given


def _number(given: str) -> float:
    """The number, or nan, which no comparison admits."""
    try:
        return float(given)
    except ValueError:
        return float("nan")


def _cpus(name: str, given: str) -> float:
    if not 0 < _number(given) < 1e4:
        raise refused(name, given, "a number of cores above 0", "Write e.g. 2, or 0.5.")
    return float(given)


def _gpu(name: str, given: str) -> str:
    if given not in ("all", "none") and not re.fullmatch(r"\d+|GPU-[\w-]+", given, re.ASCII):
        raise refused(name, given, "all, none, or one GPU's number or UUID", "`nvidia-smi -L` lists both.")
    return given


def _gpu_share(name: str, given: str) -> float:
    if not 0 < _number(given) <= 1:
        raise refused(name, given, "a fraction of the GPU's memory, above 0 and at most 1", "Write e.g. 0.25.")
    return float(given)


def _idle_seconds(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and int(given) >= 4):
        raise refused(name, given, "a whole number of seconds, 4 or more", "Unset it for an hour.")
    return int(given)


def _state(name: str, given: str) -> Path:
    folder = Path(given).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise refused(name, given, "a folder, or a name that is free", "Choose another.")
    return folder


def _login(name: str, given: str) -> str:
    if given in LOGINS:
        return given
    module, _, kind = given.rpartition(".")
    if not module:
        raise unknown(f"login in {PREFIX}{name}, which may also be a class by its dotted name,", given, LOGINS)
    from jupyterhub.auth import Authenticator

    try:
        found = getattr(importlib.import_module(module), kind, None)
    except ImportError as error:
        raise refused(name, given, "a class that can be imported", f"{error}. Install its package.") from error
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise refused(name, given, "a class of JupyterHub's Authenticator", "See the documentation of its package.")
    return given


def _text(name: str, given: str) -> str:
    return given.strip()


def _secret_file(name: str, given: str) -> str:
    try:
        secret = Path(given).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise refused(name, given, "a file that this account can read", f"{error}.") from error
    if not secret:
        raise refused(name, given, "a file with the secret in it", "It is empty.")
    return secret


def _url(name: str, given: str) -> str:
    parts = urlsplit(given)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise refused(name, given, "an address that begins with https://", "Copy it from where you register the hub.")
    return given


def _callback(name: str, given: str) -> str:
    if not _url(name, given).endswith("/hub/oauth_callback"):
        raise refused(
            name,
            given,
            "the hub's address and /hub/oauth_callback",
            "Write e.g. https://hub.example.org/hub/oauth_callback, here and at the provider.",
        )
    return given


def _organisations(name: str, given: str) -> frozenset[str]:
    return frozenset(filter(None, re.split(r"[,\s]+", given)))


def _roster(name: str, given: str) -> Mapping[str, str]:
    try:
        return roster.read(Path(given).expanduser(), USERNAME)
    except OSError as error:
        raise refused(name, given, "a file that this account can read", f"{error}.") from error
    except ValueError as error:
        raise ValueError(f"{PREFIX}{name}: {error}") from error


def _servers(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and int(given) >= 1):
        raise refused(name, given, "a whole number of servers, 1 or more", "Unset it for no limit.")
    return int(given)


def _max_hours(name: str, given: str) -> float:
    if not 0 < _number(given) < 1e4:
        raise refused(name, given, "a number of hours above 0", "Write e.g. 8, or unset it for no limit.")
    return float(given)


def _config(name: str, given: str) -> Path:
    file = Path(given).expanduser().resolve()
    if not file.is_file():
        raise refused(name, given, "a file of JupyterHub's own settings, in Python", "There is none of this name.")
    return file


PARSERS = {
    "spawner": _spawner,
    "address": _address,
    "port": _port,
    "tls": _tls,
    "admins": _admins,
    "lecturers": _admins,
    "open_signup": _open_signup,
    "image": _image,
    "bridge": _address,
    "memory": _memory,
    "cpus": _cpus,
    "gpu": _gpu,
    "gpu_share": _gpu_share,
    "idle_seconds": _idle_seconds,
    "state": _state,
    "login": _login,
    "login_client": _text,
    "login_secret": _text,
    "login_secret_file": _secret_file,
    "login_callback": _callback,
    "login_organisations": _organisations,
    "lti_issuer": _url,
    "lti_authorize": _url,
    "lti_keys": _url,
    "lti_name": _text,
    "roster": _roster,
    "servers": _servers,
    "max_hours": _max_hours,
    "config": _config,
}


def spoken(seconds: float) -> str:
    """A span of time as a reader is told it: "an hour", "90 minutes"."""
    for unit, word in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit and not seconds % unit:
            return {"hour": "an hour"}.get(word, f"a {word}") if seconds == unit else f"{seconds / unit:g} {word}s"
    return f"{seconds / 60:.3g} minutes"


def check_ports(settings: Settings) -> None:
    """Refuse addresses and ports that the hub could not take; later the proxy would fail, and the hub say little."""
    for address, port in settings.listens():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port closed a moment ago is free
            try:
                probe.bind((address, port))
            except OSError as error:
                raise ValueError(_why_not(settings, address, port, error)) from error


def _why_not(settings: Settings, address: str, port: int, error: OSError) -> str:
    where = f"port {port} of {address}"
    if error.errno == errno.EADDRINUSE:
        mine = ", ".join(str(port) for _, port in settings.listens())
        return (
            f"{where} is in use; the hub needs the ports {mine}. Stop what uses it, or set {PREFIX}PORT to "
            f"another, e.g. {PREFIX}PORT={settings.port + 10 if settings.port < 65000 else 8010}."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = (
            f"Is Docker running? Set {PREFIX}BRIDGE to what `docker network inspect bridge` calls its gateway."
            if address == settings.bridge != settings.address
            else f"Set {PREFIX}ADDRESS to one that `ip address` lists, or to 0.0.0.0."
        )
        return f"{address} is no address of this machine, and the hub should listen on {where}. {remedy}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} may not be opened by this account. Set {PREFIX}PORT to 1024 or more."
    return f"{where} cannot be opened: {error}"
