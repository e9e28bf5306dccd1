"""Hot swaps on a real HTTP server that behaves like vLLM."""

from __future__ import annotations

import json
import logging

import pytest
from pydantic import SecretStr

from like_vllm import LikeVllm
from unlearn.deploy import HookFailed, Vllm
from unlearn.errors import BadInput

KEY = "sk-very-secret-0123"


@pytest.fixture
def server():
    server = LikeVllm()
    yield server
    server.stop()


def test_the_name_stays_while_the_weights_behind_it_change(server, released):
    hook = Vllm(server.url)
    for number in (1, 2, 3):
        hook(released(number))
        assert server.loaded == {"support": str(released(number).path)}
    assert server.posts == ["load_lora_adapter", "/reset_prefix_cache"] * 3
    bodies = [body for path, body in server.calls if path.endswith("load_lora_adapter")]
    assert bodies[0] == {"lora_name": "support", "lora_path": str(released(1).path)}
    assert [body.get("load_inplace", False) for body in bodies] == [False, True, True]


def test_a_second_call_loads_nothing_anew(server, released):
    hook = Vllm(server.url, prefix_cache="off")
    hook(released(1))
    hook(released(1))
    assert server.posts == ["load_lora_adapter"]


def test_a_server_that_started_anew_gets_the_release_again(server, released):
    hook = Vllm(server.url)
    hook(released(2))
    server.loaded.clear()
    hook(released(2))
    assert server.loaded == {"support": str(released(2).path)}


@pytest.mark.parametrize(("inplace", "knows_inplace"), [(True, False), (False, True)])
def test_without_loading_in_place_the_name_is_unloaded_and_loaded_again(server, released, inplace, knows_inplace):
    server.knows_inplace = knows_inplace
    hook = Vllm(server.url, inplace=inplace, prefix_cache="off")
    hook(released(1))
    hook(released(2))
    assert server.loaded == {"support": str(released(2).path)}
    assert server.posts == ["load_lora_adapter"] * 2 + ["unload_lora_adapter", "load_lora_adapter"]


def test_a_crash_between_unloading_and_loading_is_made_good_by_the_next_call(server, released, monkeypatch):
    hook = Vllm(server.url, inplace=False, prefix_cache="off")
    hook(released(1))
    unload = Vllm._unload

    def unload_and_die(*args):
        unload(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Vllm, "_unload", unload_and_die)
        with pytest.raises(KeyboardInterrupt):
            hook(released(2))
    assert server.loaded == {}
    hook(released(2))
    assert server.loaded == {"support": str(released(2).path)}


def test_a_late_release_leaves_a_newer_one_loaded_and_a_rollback_does_not(server, released):
    hook = Vllm(server.url)
    hook(released(4))
    hook(released(3))
    assert server.loaded == {"support": str(released(4).path)}
    hook(released(2, previous=4, forced=True))
    assert server.loaded == {"support": str(released(2).path)}
    hook(released(5, previous=2))
    hook(released(2, previous=4, forced=True))
    assert server.loaded == {"support": str(released(5).path)}


def test_weights_from_elsewhere_have_no_number_and_are_replaced(server, released):
    server.loaded["support"] = "/somebody/else/v99"
    Vllm(server.url)(released(1))
    assert server.loaded == {"support": str(released(1).path)}


def test_another_adapter_under_the_name_is_neither_replaced_nor_unloaded(server, released, tmp_path, caplog):
    theirs = str(tmp_path / "adapters" / "adp_0" / "v1.f1")
    server.loaded["support"] = theirs
    with pytest.raises(
        HookFailed, match=r"another adapter's \('adp_1' was released\); unload that one if nobody needs"
    ):
        Vllm(server.url)(released(2))
    Vllm(server.url).withdraw(released(2))
    assert (server.loaded, server.posts) == ({"support": theirs}, [])
    assert "left there" in caplog.text


def test_weights_that_the_server_refuses_leave_the_old_ones_loaded(server, released):
    hook = Vllm(server.url)
    hook(released(1))
    server.bad_paths.add(str(released(2).path))
    with pytest.raises(HookFailed, match=r"with 400 \(LoRA rank 64 is greater than max_lora_rank 16\.\); see"):
        hook(released(2))
    assert server.loaded == {"support": str(released(1).path)}


def test_a_server_that_fails_for_a_while_is_told_by_trying_again(server, released):
    hook = Vllm(server.url)
    server.fail = 2
    for _ in range(2):
        with pytest.raises(HookFailed, match=r"answered /v1/load_lora_adapter with 500 \(the engine is busy\)"):
            hook(released(1))
    hook(released(1))
    assert server.loaded == {"support": str(released(1).path)}


def test_a_load_that_another_process_took_does_not_pass_for_done(server, released):
    server.forgets = True
    with pytest.raises(HookFailed, match="does not list it; see that the URL is that of one server"):
        Vllm(server.url)(released(1))


def test_nobody_there_is_said_with_the_next_step(server, released):
    url = server.url
    server.stop()
    with pytest.raises(HookFailed, match=rf"vLLM at {url} did not answer GET /v1/models \(ConnectError\); start it"):
        Vllm(url)(released(1))


def test_without_the_lora_routes_the_switches_are_named(server, released):
    server.runtime_updating = False
    with pytest.raises(HookFailed, match=r"with 404; .*VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"):
        Vllm(server.url)(released(1))
    server.loaded["support"] = str(released(1).path)
    with pytest.raises(HookFailed, match="still serves 'support'"):
        Vllm(server.url).withdraw(released(1))


def test_withdrawing_unloads_and_can_be_done_twice(server, released):
    hook = Vllm(server.url)
    hook.withdraw(released(1))
    hook(released(1))
    hook.withdraw(released(2))
    hook.withdraw(released(2))
    assert server.loaded == {}
    assert server.posts.count("unload_lora_adapter") == 1


def test_the_prefix_cache_is_emptied_even_when_an_earlier_call_broke_off_before(server, released):
    server.dev_mode = False
    with pytest.raises(HookFailed, match=r"answered /reset_prefix_cache with 404.*VLLM_SERVER_DEV_MODE=1"):
        Vllm(server.url, prefix_cache="reset")(released(1))
    assert server.loaded == {"support": str(released(1).path)}
    server.dev_mode = True
    server.calls.clear()
    Vllm(server.url, prefix_cache="reset")(released(1))
    assert server.calls == [("/reset_prefix_cache?reset_running_requests=true", {})]


def test_a_prefix_cache_that_can_not_be_emptied_is_warned_of(server, released, caplog):
    server.dev_mode = False
    Vllm(server.url)(released(1))
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "--no-enable-prefix-caching" in warning


def test_redirects_are_not_followed(server, released):
    server.says = (307, {"Location": "http://127.0.0.1:9/v1/models"}, b"")
    with pytest.raises(HookFailed, match="with 307; give the URL that answers itself"):
        Vllm(server.url)(released(1))


def test_proxies_of_the_environment_are_not_used(server, released, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    Vllm(server.url)(released(1))
    assert "support" in server.loaded


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 3}', b'{"data": ["base"]}'])
def test_what_is_not_vllm_is_told_apart(server, released, body):
    server.says = (200, {}, body)
    with pytest.raises(HookFailed, match="does not list models as vLLM does"):
        Vllm(server.url)(released(1))


def test_the_key_is_sent_and_is_in_no_repr_message_or_log(server, released, caplog):
    caplog.set_level("DEBUG")
    server.api_key = KEY
    hook = Vllm(server.url, SecretStr(KEY))
    hook(released(1))
    assert "support" in server.loaded
    said = [repr(hook)]
    with pytest.raises(HookFailed, match="with 401; correct the hook's api_key") as failed:
        Vllm(server.url)(released(2))
    said.append(repr(failed.value))
    echo = json.dumps({"error": {"message": f"no such thing: Bearer {KEY}"}}).encode()
    server.says = (500, {}, echo)
    with pytest.raises(HookFailed, match="Bearer …") as failed:
        hook(released(2))
    said.append(repr(failed.value))
    server.stop()
    with pytest.raises(HookFailed) as failed:
        hook(released(2))
    said.append(repr(failed.value))
    assert KEY not in "".join(said) + caplog.text


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://desk:hunter2@vllm:8000", "no user, password"),
        ("http://vllm:8000?key=hunter2", "no user, password"),
        ("vllm:8000", "not the URL of a server"),
        ("ftp://vllm", "not the URL of a server"),
        ("http://vllm:8000/v1/", "ends in /v1"),
        ("http://vllm:port", "not a URL"),
    ],
)
def test_a_url_that_can_not_be_is_refused_without_repeating_a_password(url, what):
    with pytest.raises(BadInput, match=what) as refused:
        Vllm(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ["with space", "new\nline", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it(key):
    with pytest.raises(BadInput, match="api_key") as refused:
        Vllm("http://vllm:8000", SecretStr(key))
    assert key not in str(refused.value)
