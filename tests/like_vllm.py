"""A small real HTTP server that behaves like vLLM's model and LoRA routes."""

from __future__ import annotations

import json

from servers import Answer, Server


class LikeVllm(Server):
    """Keeps loaded names.

    Attributes:
        loaded: path by name.
        calls: path and body of each POST, in order.
        fail: answers 500 to so many of the POSTs to come.
        knows_inplace: False is a release before `load_inplace`, which ignores the key.
        runtime_updating: False has no LoRA routes, as without VLLM_ALLOW_RUNTIME_LORA_UPDATING.
        dev_mode: has /reset_prefix_cache.
        forgets: says that it loaded, and another process did, as behind a load balancer.
        bad_paths: paths that can't be loaded.
        says: an answer to every request, status and headers and body, instead of all this.
    """

    def __init__(self) -> None:
        super().__init__(_Routes)
        self.loaded: dict[str, str] = {}
        self.calls: list[tuple[str, dict]] = []
        self.fail = 0
        self.api_key: str | None = None
        self.knows_inplace = self.runtime_updating = self.dev_mode = True
        self.forgets = False
        self.bad_paths: set[str] = set()
        self.says: tuple[int, dict[str, str], bytes] | None = None

    @property
    def posts(self) -> list[str]:
        return [path.removeprefix("/v1/").partition("?")[0] for path, _ in self.calls]


class _Routes(Answer):
    server: LikeVllm

    def do_GET(self) -> None:
        self.guarded(self.models)

    def do_POST(self) -> None:
        self.server.calls.append((self.path, json.loads(self.body() or b"{}")))
        if self.server.fail:
            self.server.fail -= 1
            return self.error(500, "the engine is busy", "InternalServerError")
        self.guarded(self.route)

    def guarded(self, answer) -> None:
        if self.server.says is not None:
            status, headers, body = self.server.says
            return self.send(status, body, headers)
        wanted = self.server.api_key
        if wanted and self.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {wanted}":
            return self.send(401, b'{"error": "Unauthorized"}')
        answer()

    def models(self) -> None:
        cards = [{"id": "base", "root": "/models/base", "parent": None}]
        cards += [{"id": name, "root": path, "parent": "base"} for name, path in self.server.loaded.items()]
        self.send(200, json.dumps({"object": "list", "data": cards}).encode())

    def route(self) -> None:
        server, (path, body) = self.server, self.server.calls[-1]
        path, _, _query = path.partition("?")
        if path == "/reset_prefix_cache" and server.dev_mode:
            return self.send(200, b"")
        if path not in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter") or not server.runtime_updating:
            return self.send(404, b'{"detail": "Not Found"}')
        name = body["lora_name"]
        if path == "/v1/unload_lora_adapter":
            if server.loaded.pop(name, None) is None:
                return self.error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
            return self.send(200, b"Success")
        if name in server.loaded and not (server.knows_inplace and body.get("load_inplace")):
            return self.error(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        if body["lora_path"] in server.bad_paths:
            return self.error(400, "LoRA rank 64 is greater than max_lora_rank 16.", "BadRequestError")
        if not server.forgets:
            server.loaded[name] = body["lora_path"]
        self.send(200, b"Success")

    def error(self, status: int, message: str, kind: str) -> None:
        self.send(status, json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode())
