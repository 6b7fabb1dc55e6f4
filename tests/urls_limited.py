"""Limited views of every make, sync and async, with one counter for the named limit."""

from django.http import HttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from redis_atomic.decorators import rate_limit


def plain(request, **kwargs):
    return HttpResponse("plain")


async def aplain(request, **kwargs):
    return HttpResponse("aplain")


@rate_limit("3/m")
def inline(request):
    return HttpResponse("inline")


@rate_limit("3/m")
async def ainline(request):
    return HttpResponse("ainline")


@rate_limit("named")
def named(request):
    return HttpResponse("named")


@rate_limit("named")
async def anamed(request):
    return HttpResponse("anamed")


@rate_limit("named")
def failing(request):
    raise ZeroDivisionError("the view's own")


@method_decorator(rate_limit("3/m"), name="dispatch")
class Dispatched(View):
    def get(self, request):
        return HttpResponse("get")

    def post(self, request):
        return HttpResponse("post")


@method_decorator(rate_limit("3/m"), name="dispatch")
class ADispatched(View):
    async def get(self, request):
        return HttpResponse("aget")

    async def post(self, request):
        return HttpResponse("apost")


class Got(View):
    @method_decorator(rate_limit("3/m"))
    def get(self, request):
        return HttpResponse("get")

    def post(self, request):
        return HttpResponse("post")


class AGot(View):
    @method_decorator(rate_limit("3/m"))
    async def get(self, request):
        return HttpResponse("aget")

    async def post(self, request):
        return HttpResponse("apost")


shop = [path("item/<int:pk>/", plain, name="item"), path("aitem/<int:pk>/", aplain, name="aitem")]

urlpatterns = [
    path("plain/", plain, name="plain"),
    path("aplain/", aplain, name="aplain"),
    path("inline/", inline),
    path("ainline/", ainline),
    path("named/", named),
    path("anamed/", anamed),
    path("failing/", failing),
    path("dispatched/", Dispatched.as_view()),
    path("adispatched/", ADispatched.as_view()),
    path("got/", Got.as_view()),
    path("agot/", AGot.as_view()),
    path("api/", plain),
    path("api/users/<int:pk>/", plain),
    path("apiary/", plain),
    path("shop/", include((shop, "shop"))),
]
