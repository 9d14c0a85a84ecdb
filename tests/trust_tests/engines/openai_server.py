"""Servers on this machine for the tests of the OpenAI engine: one that answers by script, one that runs a model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    method: str
    path: str
    body: Body
    headers: Mapping[str, str]
    at: float


@dataclass(frozen=True)
class Reply:
    """One answer. `wait`: seconds before it; `trickle`: seconds between its bytes; `drop`: hang up instead."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    trickle: float = 0.0
    drop: bool = False


class Peer:
    """A server on 127.0.0.1 whose answers a function makes."""

    def __init__(self, answer: Callable[[Call], Reply]) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                peer._serve(self, answer)

            do_POST = do_GET  # noqa: N815 - the library's name

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def asked(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler, answer: Callable[[Call], Reply]) -> None:
        text = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        body = json.loads(text) if text else {}
        call = Call(handler.command, handler.path, body, dict(handler.headers), time.monotonic())
        with self._lock:
            self.calls.append(call)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            self._send(handler, answer(call))
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._under_way -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.wait)
        if reply.drop:
            handler.close_connection = True
            return
        payload = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(payload)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if not reply.trickle:
            handler.wfile.write(payload)
            return
        for byte in payload:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(reply.trickle)


def models(*names: str, owner: str = "vllm", **card: Any) -> Reply:
    """What /models says."""
    return Reply(
        body={
            "object": "list",
            "data": [{"id": name, "owned_by": owner, "created": time.time(), "root": name, **card} for name in names],
        }
    )


def said(text: str, finish: str = "stop", **choice: Any) -> Reply:
    """A chat completion and a completion at once."""
    body = {"index": 0, "text": text, "message": {"content": text}, "finish_reason": finish, **choice}
    return Reply(body={"choices": [body], "usage": {"completion_tokens": 3}})


class ModelServer:
    """Answers with a model's own logits, as vLLM does, or as a server that knows OpenAI's fields alone.

    listed: how many likeliest tokens the plain server lists at most.
    """

    def __init__(self, folder: Path, *, vllm: bool, listed: int = 5) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.vllm, self.listed = vllm, listed
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> Reply:
        if call.path == "/v1/models":
            return models("tiny", owner="vllm" if self.vllm else "somebody", max_model_len=512)
        if call.path == "/version" and self.vllm:
            return Reply(body={"version": "0.0.test"})
        if call.path == "/tokenize" and self.vllm:
            return Reply(body={"tokens": self._tokens(call.body)})
        if call.path not in ("/v1/completions", "/v1/chat/completions"):
            return Reply(404, {"detail": "Not Found"})
        if len(call.body.get("stop", ())) > 4:
            return Reply(400, {"error": {"message": "at most 4 stop strings"}})
        with self._lock:
            return Reply(body=self._answer(call.body))

    def _tokens(self, body: Body) -> list[int]:
        prompt = body.get("prompt")
        if isinstance(prompt, list):
            return prompt
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt, add_special_tokens=body.get("add_special_tokens", True))["input_ids"])
        continued = bool(body.get("continue_final_message")) and self.vllm
        turns = [dict(turn) for turn in body["messages"]]
        prefix = turns.pop()["content"] if continued else ""
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + prefix
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _answer(self, body: Body) -> Body:
        import torch

        tokens, stops = self._tokens(body), body.get("stop", ())
        with torch.inference_mode():
            written: list[int] = []
            while len(written) < body["max_tokens"] and not self._ended(written, stops):
                rows = self.model(torch.tensor([tokens + written])).logits[0].log_softmax(-1)
                written.append(int(rows[-1].argmax()))
        text = self.tokenizer.decode(written, skip_special_tokens=body.get("skip_special_tokens", True))
        # vLLM cuts; transformers leaves the stop string in the text.
        places = [text.index(stop) for stop in stops if self.vllm and stop in text]
        choice: dict[str, Any] = {
            "index": 0,
            "text": text[: min(places, default=None)],
            "finish_reason": "stop" if self._ended(written, stops) else "length",
        }
        if body.get("echo"):
            places = range(1, len(tokens))
            choice["logprobs"] = {
                "token_logprobs": [None, *(float(rows[i - 1, tokens[i]]) for i in places), float(rows[-1].max())]
            }
        elif body.get("logprobs") not in (None, False):
            choice["logprobs"] = self._listed(rows[-1], body)
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        usage = {"prompt_tokens": len(tokens), "completion_tokens": len(written)}
        return {"choices": [choice], "usage": usage}

    def _ended(self, written: list[int], stops: Sequence[str]) -> bool:
        text = self.tokenizer.decode(written)
        return self.tokenizer.eos_token_id in written or any(stop in text for stop in stops)

    def _listed(self, row: Any, body: Body) -> Body:
        named = body.get("logprob_token_ids") if self.vllm else None
        ids = named or row.topk(min(self.listed, body.get("top_logprobs") or body["logprobs"])).indices.tolist()
        spelled = [f"token_id:{token}" if named else self.tokenizer.decode([token]) for token in ids]
        values = [float(row[token]) for token in ids]
        if "messages" in body:
            top = [{"token": token, "logprob": value} for token, value in zip(spelled, values, strict=True)]
            return {"content": [{"token": spelled[0], "logprob": values[0], "top_logprobs": top}]}
        return {"top_logprobs": [dict(zip(spelled, values, strict=True))]}
