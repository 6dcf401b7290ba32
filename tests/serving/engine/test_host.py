"""What is detected on the machine that runs the tests; its figures are not known, its limits are."""

import os

from serving.engine.host import detect_host


def test_threads_are_bound_to_cores_that_this_process_may_use() -> None:
    binding = detect_host().thread_binding

    if binding not in ("auto", "nobind"):
        cores = {int(cpu) for cpu in binding.split(",")}
        assert cores <= os.sched_getaffinity(0)
        assert 1 <= len(cores) <= 4


def test_one_allowed_core_is_the_only_one_bound() -> None:
    allowed = os.sched_getaffinity(0)
    only = max(allowed)
    os.sched_setaffinity(0, {only})
    try:
        assert detect_host().thread_binding == str(only)
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_project_is_installed_with_its_plugin() -> None:
    host = detect_host()

    assert host.has_lora_plugin
    if host.is_cpu:
        assert host.default_dtype == "float32"
