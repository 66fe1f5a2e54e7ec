"""A real hub on loopback with other logins, by providers of the tests' own; with a roster, limits, and its messages."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from ports import first_of_three
from test_jupyterhub import PASSWORDS, enter, log_in, sign_up, starting

pytestmark = pytest.mark.browser


@contextmanager
def serving(answers: dict[str, object]) -> Iterator[str]:
    """A server on loopback that answers each path with a value, in JSON; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answers[urlsplit(self.path).path]).encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Visitor(requests.Session):
    """A browser without a page. Like one it takes loopback for secure, and sends the cookies that want that."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        for cookie in self.cookies:
            cookie.secure = False
        return super().prepare_request(request)


def sent_to(answer: requests.Response) -> tuple[str, dict[str, str]]:
    """Where an answer redirects, and what with."""
    assert answer.status_code == 302, answer.text
    url = urlsplit(answer.headers["Location"])
    return f"{url.scheme}://{url.netloc}{url.path}", {key: value for key, (value,) in parse_qs(url.query).items()}


def begin(session: requests.Session, hub, path: str = "oauth_login", **arguments: str) -> tuple[str, dict[str, str]]:
    """Go to a hub's login, and not on; where it sends one, and what with."""
    url = f"{hub.url}/hub/{path}"
    return sent_to(session.get(url, params={"next": "/hub/home"} | arguments, allow_redirects=False))


@pytest.mark.parametrize(
    ("login", "button", "provider"),
    [
        ("github", "Sign in with GitHub", "https://github.com/login/oauth/authorize"),
        ("google", "Sign in with Google", "https://accounts.google.com/o/oauth2/v2/auth"),
    ],
)
def test_a_provider_of_logins_is_asked_and_believed(tmp_path, login, button, provider):
    me = {"login": "Ann", "email": "ann@uni.example", "hd": "uni.example", "verified_email": True}
    answers = {"/token": {"access_token": "of-ann", "token_type": "bearer"}, "/me": me}
    (tmp_path / "roster.txt").write_text("ann\n")
    (tmp_path / "secret").write_text("chalk-dust-and-duster\n")
    with serving(answers) as url, starting(tmp_path) as start:
        (tmp_path / "more.py").write_text(
            f"c.OAuthenticator.token_url = '{url}/token'\nc.OAuthenticator.userdata_url = '{url}/me'\n"
        )
        port = first_of_three()
        secret = {"LOGIN_SECRET": "chalk-dust-and-duster"}
        if login == "github":
            secret = {"LOGIN_SECRET_FILE": str(tmp_path / "secret")}
            allowed = {"ROSTER": str(tmp_path / "roster.txt")}
        else:
            allowed = {"LOGIN_ORGANISATIONS": "uni.example"}
        hub = start(
            LOGIN=login,
            LOGIN_CLIENT="the-book",
            LOGIN_CALLBACK=f"http://127.0.0.1:{port}/hub/oauth_callback",
            CONFIG=str(tmp_path / "more.py"),
            PORT=str(port),
            **secret,
            **allowed,
        )
        session = Visitor()
        assert button in session.get(f"{hub.url}/hub/login").text
        where, told = begin(session, hub)
        assert where == provider
        assert told["client_id"] == "the-book"
        assert told["redirect_uri"] == f"{hub.url}/hub/oauth_callback"
        assert told["response_type"] == "code"

        def back(session: requests.Session, state: str) -> requests.Response:
            return session.get(f"{hub.url}/hub/oauth_callback", params={"code": "1", "state": state})

        assert back(session, told["state"][:-8] + "AAAAAAAA").status_code == 400
        assert back(Visitor(), told["state"]).status_code == 400  # a state of another's
        _, told = begin(session, hub)
        assert "Start" in back(session, told["state"]).text
        assert session.get(f"{hub.url}/hub/home").url.endswith("/hub/home")

        me |= {"login": "ben", "email": "ben@elsewhere.example", "hd": "elsewhere.example"}
        other = Visitor()
        _, told = begin(other, hub)
        assert back(other, told["state"]).status_code == 403
        assert "chalk-dust" not in hub.log.read_text()


LTI = "https://purl.imsglobal.org/spec/lti/claim/"


def test_a_platform_of_courses_sends_its_students(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "1", "use": "sig"}
    with serving({"/keys": {"keys": [public]}}) as platform, starting(tmp_path) as start:
        hub = start(
            LOGIN="lti13",
            LOGIN_CLIENT="the-book",
            LTI_ISSUER=platform,
            LTI_AUTHORIZE=f"{platform}/authorize",
            LTI_KEYS=f"{platform}/keys",
        )
        launch = {"iss": platform, "login_hint": "7", "target_link_uri": f"{hub.url}/hub/home"}

        def token(told: dict[str, str], signed_by: rsa.RSAPrivateKey = key, **changed: object) -> str:
            now = int(time.time())
            claims = {
                "iss": platform,
                "aud": "the-book",
                "sub": "7",
                "email": "Ann@uni.example",
                "nonce": told["nonce"],
                "iat": now,
                "exp": now + 60,
                LTI + "version": "1.3.0",
                LTI + "message_type": "LtiResourceLinkRequest",
                LTI + "deployment_id": "1",
                LTI + "target_link_uri": launch["target_link_uri"],
                LTI + "resource_link": {"id": "1"},
                LTI + "roles": [],
            }
            return jwt.encode(claims | changed, signed_by, algorithm="RS256", headers={"kid": "1"})

        def back(session: requests.Session, told: dict[str, str], **changed: object) -> requests.Response:
            data = {"state": told["state"], "id_token": token(told, **changed)}
            return session.post(f"{hub.url}/hub/lti13/oauth_callback", data=data, allow_redirects=False)

        assert "from the page of your course" in Visitor().get(f"{hub.url}/hub/login").text
        session = Visitor()
        where, told = begin(session, hub, "lti13/oauth_login", client_id="the-book", **launch)
        assert where == f"{platform}/authorize"
        assert told["client_id"] == "the-book"
        assert told["redirect_uri"] == f"{hub.url}/hub/lti13/oauth_callback"
        assert told["response_mode"] == "form_post"
        assert sent_to(back(session, told))[0].endswith("/hub/home")
        assert "ann@uni.example" in session.get(f"{hub.url}/hub/home").text

        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        for wrong in ({"signed_by": stranger}, {"aud": "another"}, {"iss": "https://else.example"}, {"nonce": "1"}):
            session = Visitor()
            _, told = begin(session, hub, "lti13/oauth_login", client_id="the-book", **launch)
            assert back(session, told, **wrong).status_code in (400, 401), wrong
        _, told = begin(session, hub, "lti13/oauth_login", client_id="the-book", **launch)
        assert back(session, told | {"state": told["state"][:-8] + "AAAAAAAA"}).status_code == 400
        assert back(Visitor(), told).status_code == 400  # begun by another
        assert session.get(f"{hub.url}/hub/home").url.startswith(f"{hub.url}/hub/login")


def test_a_class_by_its_list(tmp_path, open_page):
    roster = tmp_path / "roster.csv"
    roster.write_text("name,role,matriculation\nAnn,,1\ncat,lecturer,2\nteacher,admin,3\n")
    ann, cat, teacher = (open_page("about:blank", width=1400, own=True) for _ in range(3))
    with starting(tmp_path) as start:
        hub = start(ROSTER=str(roster), ADMINS="", SERVERS="1", MAX_HOURS="8")
        for name, password, words in (
            ("ben", "bens-own-password", "'ben' is not on the list of this class"),
            ("ann lovelace", PASSWORDS["ann"], "'ann lovelace' cannot be a name here"),
            ("ann", "short", "The password has 5 characters; it needs 8 or more"),
            ("ann", "password", "one of those that everyone tries first"),
        ):
            assert words in sign_up(ann, hub, name, password)
        for page, user in ((ann, "ann"), (cat, "cat"), (teacher, "teacher")):
            assert "signup was successful" in sign_up(page, hub, user)

        enter(ann, hub, "ann")
        ann.wait_for_function(r"/Mem: [\d.]+ \/ 4096\.00 MB/.test(document.body.innerText)")
        log_in(teacher, hub, "teacher")
        teacher.get_by_role("heading", name="All places are taken").wait_for()
        assert "This hub runs 1 server at a time, and it is in use." in teacher.inner_text(".error")
        log_in(cat, hub, "cat", to="/hub/admin")  # a lecturer sees who is there, and reaches no files
        cat.locator("[data-testid=user-row-name] >> text=ann").first.wait_for()
        assert cat.request.get(f"{hub.url}/user/ann/lab").status == 403

        rules = re.compile(r"nobody has used for an hour is stopped.* 8 hours\. Your files stay", re.DOTALL)
        ann.goto(f"{hub.url}/hub/home")
        assert rules.search(ann.inner_text("body"))
        ann.locator("#stop").click()
        ann.locator("#stop").wait_for(state="hidden")
        ann.goto(f"{hub.url}/user/ann/lab")
        ann.get_by_role("heading", name="Server not running").wait_for()
        assert rules.search(ann.inner_text("body"))

    # Taken off the list, or no admin any more: from the hub's next start.
    roster.write_text("teacher,lecturer\n".join(["name,role\n", "cat,admin\n"]))
    with starting(tmp_path) as start:
        hub = start(ROSTER=str(roster), ADMINS="")
        ann.goto(f"{hub.url}/hub/home")
        assert "/hub/login" in ann.url
        log_in(ann, hub, "ann", to="/hub/home")
        assert "'ann' is not on the list of this class" in ann.locator(".login_error").inner_text()
        for page, user, admin in ((teacher, "teacher", False), (cat, "cat", True)):
            log_in(page, hub, user, to="/hub/home")
            page.wait_for_url("**/hub/home")
            assert page.request.get(f"{hub.url}/hub/authorize").ok == admin
