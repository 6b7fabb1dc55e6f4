"""
A login that counts only failures, by address and by name, and locks nobody out.

The limits are in settings.py: few guesses for one address at one name, more for an
address at all names, and many for a name from everywhere. Who attacks a name from
many addresses uses up that last one, so it is not for browsers in which the name's
owner has logged in before.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator

from redis_atomic import rate_limit

YEAR = 365 * 24 * 3600


def is_known_device(request: HttpRequest) -> bool:
    """Has this browser logged in before under the name that it tries now?"""
    name = request.POST.get("username", "").strip().casefold()
    return name != "" and name == request.get_signed_cookie("known", default="", salt="login")


def failed(response: HttpResponse) -> bool:
    """LoginView answers a wrong password with its form again, a right one with a redirect."""
    return response.status_code != 302


limit_logins = rate_limit("login-pair", "login-address", "login-name", methods=["POST"])


@method_decorator(limit_logins, name="dispatch")
class Login(LoginView):
    template_name = "shop/login.html"
    next_page = "index"

    def form_valid(self, form: AuthenticationForm) -> Any:
        response = super().form_valid(form)
        name = form.get_user().get_username().strip().casefold()
        response.set_signed_cookie(
            "known", name, salt="login", max_age=YEAR, httponly=True, samesite="Lax"
        )
        return response
