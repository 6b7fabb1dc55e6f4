from django.urls import path

from .variants import acpu, cpu, variants

urlpatterns = [path("cpu/", cpu), path("async/cpu/", acpu)]
urlpatterns += [path(f"{name}/", view) for name, view in variants.items()]
