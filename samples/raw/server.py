"""An OpenAI-compatible server on loopback that answers from recorded replies: `python samples/raw/server.py --port 0`.

With it the stages of data_prep that no tiny model can do run without network and key. The task is in the model's name
(recorded-translate, recorded-self-instruct, recorded-evol). A reply is found by the recorded text within the last user
message, the longest one that is contained there; so it does not depend on how a stage words its request. An evolution
also needs the mutation's name in some message; self_instruct replies are given in turn by the request's seed. What is
not recorded is HTTP 404, never a guess. Left out: streaming, several choices, log-probabilities.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = {"recorded-translate": "translate", "recorded-self-instruct": "self_instruct", "recorded-evol": "evol_instruct"}


class Refused(Exception):
    """A request that gets no reply: (HTTP status, what is wrong)."""


def read_replies(path: Path) -> dict[str, list[dict]]:
    """Return task -> its recorded replies: {"task", "text", "reply"} and, of an evolution, "mutation"."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {task: [row for row in rows if row["task"] == task] for task in TASKS.values()}


def find(replies: dict[str, list[dict]], body: dict) -> str:
    """Return the recorded reply to a chat request. Raises Refused."""
    if body["model"] not in TASKS:
        raise Refused(404, f"no model {body['model']!r}; there are {', '.join(TASKS)}")
    task = TASKS[body["model"]]
    if task == "self_instruct":
        if not isinstance(body.get("seed"), int):
            raise Refused(400, "self_instruct replies are given in turn by the request's seed; send a whole number")
        return replies[task][body["seed"] % len(replies[task])]["reply"]
    said = [message["content"] for message in body["messages"]]
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    text = max((row["text"] for row in replies[task] if row["text"] in asked), key=len, default=None)
    found = [row for row in replies[task] if row["text"] == text and any(row.get("mutation", "") in c for c in said)]
    if len(found) != 1:
        what = "no recorded text" if text is None else f"{len(found)} mutations recorded for {text!r}"
        raise Refused(404, f"{task}: {what} in the request, expected 1; its last user message is {asked[:200]!r}")
    return found[0]["reply"]


def completion(body: dict, reply: str) -> dict:
    """Return a chat completion in OpenAI's form. Tokens are counted as words."""
    prompt, answer = sum(len(message["content"].split()) for message in body["messages"]), len(reply.split())
    message = {"role": "assistant", "content": reply}
    return {
        "id": "recorded",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
    }


class Handler(BaseHTTPRequestHandler):
    """Speaks POST /v1/chat/completions and GET /v1/models; `replies` is set on the class before it serves."""

    protocol_version = "HTTP/1.1"
    replies: dict[str, list[dict]] = {}

    def do_GET(self):
        models = [{"id": name, "object": "model", "owned_by": "korlhf"} for name in TASKS]
        self.answer(200, {"object": "list", "data": models})

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            body = json.loads(text)
            self.answer(200, completion(body, find(self.replies, body)))
        except Refused as refused:
            status, message = refused.args
            self.answer(status, {"error": {"message": message, "type": "invalid_request_error"}})
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            message = f"expected model and messages, each with role and text as content ({error!r})"
            self.answer(400, {"error": {"message": message, "type": "invalid_request_error"}})

    def answer(self, status: int, value: dict) -> None:
        data = json.dumps(value, ensure_ascii=False).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """No line for every request."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer OpenAI chat requests on loopback from recorded replies.")
    parser.add_argument(
        "--replies", type=Path, default=HERE / "replies.jsonl", help="JSONL of task, text, mutation, reply"
    )
    parser.add_argument("--port", type=int, default=0, help="port; 0 = any free one")
    args = parser.parse_args()
    if not args.replies.is_file():
        parser.error(f"--replies {args.replies}: no such file")
    Handler.replies = read_replies(args.replies)
    with ThreadingHTTPServer(("127.0.0.1", args.port), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
