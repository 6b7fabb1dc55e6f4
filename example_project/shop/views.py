from __future__ import annotations

import secrets

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from redis_atomic import rate_limit
from shop import stock


def owner_of(request: HttpRequest) -> str:
    """The visitor's cart: a name of our own making, in the session."""
    if "cart" not in request.session:
        request.session["cart"] = secrets.token_hex(8)
    owner: str = request.session["cart"]
    return owner


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    stock.open_shop()
    held = stock.contents(owner_of(request))
    shelf = [
        {
            "item": item,
            "name": name,
            "price": f"{stock.PRICES[item] / 100:.2f}",
            "left": stock.left(item),
            "held": held[item],
        }
        for item, name in stock.ITEMS.items()
    ]
    return render(request, "shop/index.html", {"shelf": shelf, "held": sum(held.values())})


@require_POST
@rate_limit("reserve")
def reserve(request: HttpRequest, item: str) -> HttpResponse:
    if item in stock.ITEMS:
        stock.reserve(item, owner_of(request))
    return redirect("index")


@require_POST
def put_back(request: HttpRequest) -> HttpResponse:
    stock.put_back(owner_of(request))
    return redirect("index")


@require_GET
def api_stock(request: HttpRequest) -> JsonResponse:
    """Limited by the middleware: settings.py, REDIS_ATOMIC["RATE_LIMITS"]["api"]."""
    return JsonResponse({item: stock.left(item) for item in stock.ITEMS})


@require_GET
@rate_limit("5/10s", key="ip")
def headers(request: HttpRequest) -> HttpResponse:
    """A page that shows what the client is told about its limit."""
    return render(request, "shop/headers.html", {"decision": request.rate_limit})
