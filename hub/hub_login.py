"""Sign-up with the hub's own passwords, as nativeauthenticator has it, with words that say what is wrong."""

from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.handlers import LoginHandler, SignUpHandler


class ClearSignUp(SignUpHandler):
    """The form for new users. nativeauthenticator has one sentence for all that can be wrong."""

    def get_result_message(self, user, human, taken, confirmed, is_admin):
        """(kind of box, words) for what has just been sent; `user` is None where no account was made."""
        if user is None and human and confirmed and not taken:
            name, password = (self.get_body_argument(field, strip=False) for field in ("username", "signup_password"))
            return "alert-danger", self.authenticator.objection(name, password)
        # What it calls an admin is a user who is let in at once, and that is anyone on the roster too.
        return super().get_result_message(user, human, taken, confirmed, bool(user and user.is_authorized))


class ClearLogin(LoginHandler):
    """The form for all others. Who was taken off the roster has no wrong password."""

    def _render(self, login_error=None, username=None):
        if login_error and username:
            login_error = self.authenticator.stranger(username) or login_error
        return super()._render(login_error=login_error, username=username)


CLEAR = {SignUpHandler: ClearSignUp, LoginHandler: ClearLogin}


class Native(NativeAuthenticator):
    """With a roster (`allow_all` is off) nobody else gets an account, or a mistyped name would wait among strangers."""

    def stranger(self, name: str) -> str:
        """What to tell who is not on the roster; empty for who is, and where there is none."""
        name = self.normalize_username(name)
        if self.allow_all or name in self.allowed_users | self.admin_users:
            return ""
        return (
            f"{name!r} is not on the list of this class. Take the name that your teacher has for you, or ask to be put "
            "on the list."
        )

    def objection(self, name: str, password: str) -> str:
        """Why these make no account; empty where they do."""
        name = self.normalize_username(name)
        if not self.validate_username(name):
            return (
                f"{name!r} cannot be a name here. A name begins with a letter or a digit and has letters, digits, "
                "dots, dashes, underscores, @ and + only, 64 at most."
            )
        if self.stranger(name):
            return self.stranger(name)
        if len(password) < self.minimum_password_length:
            return (
                f"The password has {len(password)} characters; it needs {self.minimum_password_length} or more. "
                "Several words make a good one."
            )
        if self.check_common_password and self.is_password_common(password):
            return "This password is one of those that everyone tries first. Several words make a better one."
        return ""

    def create_user(self, username, password, **kwargs):
        return None if self.objection(username, password) else super().create_user(username, password, **kwargs)

    def get_handlers(self, app):
        return [(path, CLEAR.get(handler, handler)) for path, handler in super().get_handlers(app)]
