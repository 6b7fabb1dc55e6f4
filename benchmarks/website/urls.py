from django.urls import path

from .variants import acpu, cpu, freeze, variants

urlpatterns = [path("cpu/", cpu), path("async/cpu/", acpu), path("freeze/", freeze)]
urlpatterns += [path(f"{name}/", view) for name, view in variants.items()]
