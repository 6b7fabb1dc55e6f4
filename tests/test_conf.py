"""Settings: their defaults, read late, and followed when they change."""

import os
import subprocess
import sys

import pytest
from django.test import override_settings

from redis_atomic.conf import Settings, conf, user_settings


def test_every_setting_has_its_default_without_a_dict_of_the_project():
    with override_settings():
        from django.conf import settings

        if hasattr(settings, "REDIS_ATOMIC"):
            del settings.REDIS_ATOMIC
        assert {n: getattr(conf, n) for n in Settings.names()} == {
            n: getattr(Settings, n).default for n in Settings.names()
        }


@pytest.mark.parametrize(("variable", "default"), [("0", False), ("1", True)])
def test_the_tests_can_run_without_lean_calls(variable, default):
    code = (
        "import tests; from redis_atomic.conf import Settings; print(Settings.LEAN_CALLS.default)"
    )
    environment = os.environ | {"REDIS_ATOMIC_LEAN_CALLS": variable}
    words = [sys.executable, "-c", code]
    assert subprocess.check_output(words, env=environment, text=True) == f"{default}\n"


def test_an_overridden_setting_takes_effect_and_goes_again():
    before = conf.LOCK_TTL
    with override_settings(REDIS_ATOMIC={"LOCK_TTL": 7}):
        assert conf.LOCK_TTL == 7
        assert Settings.LOCK_WAIT.default == conf.LOCK_WAIT
    assert before == conf.LOCK_TTL


@pytest.mark.parametrize("value", [None, [], "LOCK_TTL=7"], ids=repr)
def test_what_is_no_dict_counts_as_empty(value):
    with override_settings(REDIS_ATOMIC=value):
        assert user_settings() == {}
        assert conf.CACHE_ALIAS == "default"
