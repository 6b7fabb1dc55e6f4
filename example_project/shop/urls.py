from django.urls import path

from shop import views
from shop.accounts import Login
from shop.api import Orders

urlpatterns = [
    path("", views.index, name="index"),
    path("reserve/<slug:item>/", views.reserve, name="reserve"),
    path("put-back/", views.put_back, name="put_back"),
    path("headers/", views.headers, name="headers"),
    path("api/stock/", views.api_stock, name="api_stock"),
    path("rest/orders/", Orders.as_view(), name="orders"),
    path("login/", Login.as_view(), name="login"),
]
