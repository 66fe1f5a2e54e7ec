"""What a hub can be told: the variables BDBOOK_HUB_..., read in one place, refused where they make no sense."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bdbook.errors import unknown

PREFIX = "BDBOOK_HUB_"
ROOT = Path(__file__).resolve().parents[1]
SPAWNERS = ("docker", "simple")
# A name becomes a folder or a volume: no leading dot, no separator. JupyterHub matches only the beginning: hence \Z.
USERNAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,31}\Z")
CERTIFICATE = ("fullchain.pem", "privkey.pem")
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
    open_signup: bool = False
    image: str = "bdbook:latest"
    bridge: str = "172.17.0.1"
    memory: str = "4G"
    cpus: float = 2.0
    gpu: str = "all"
    gpu_share: float | None = None
    idle_seconds: int = 3600
    state: Path = ROOT / ".hub"

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
    if not settings.admins and not settings.open_signup:
        raise refused(
            "ADMINS",
            "",
            "at least one name, since nobody could let a student in",
            "Set it, e.g. to teacher, or let everyone in with BDBOOK_HUB_OPEN_SIGNUP=1.",
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


PARSERS = {
    "spawner": _spawner,
    "address": _address,
    "port": _port,
    "tls": _tls,
    "admins": _admins,
    "open_signup": _open_signup,
    "image": _image,
    "bridge": _address,
    "memory": _memory,
    "cpus": _cpus,
    "gpu": _gpu,
    "gpu_share": _gpu_share,
    "idle_seconds": _idle_seconds,
    "state": _state,
}


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
