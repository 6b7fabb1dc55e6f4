"""An API in Django REST framework; its rates are in settings.py, REST_FRAMEWORK."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop import stock


class OrderSerializer(serializers.Serializer):
    item = serializers.ChoiceField(choices=list(stock.ITEMS))
    amount = serializers.IntegerField(min_value=1, max_value=100, default=1)
    owner = serializers.SlugField()


class Orders(APIView):
    """Three throttles, and one call for all of them: a refused order is charged to none."""

    throttle_scope = "orders"

    def post(self, request: Request) -> Response:
        order = OrderSerializer(data=request.data)
        order.is_valid(raise_exception=True)
        reserved = stock.reserve(**order.validated_data)
        return Response({"reserved": reserved}, status=201 if reserved else 409)
