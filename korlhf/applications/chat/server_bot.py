"""A server of the OpenAI protocol (vLLM, transformers serve, Ollama, OpenAI ...) as the one who answers, streaming.

It has a thread for each answer, which an iteration can leave at any time. The markers of all templates of ours and the
usual special tokens are broken in what the user types, because a server may read them. Left out: retries
beyond those of the openai package, budgets and the cache (korlhf/llm/client.py has them, for many requests at once).
"""

import os
import threading

import httpx2
import openai

from korlhf.applications.chat import conversation, markers
from korlhf.applications.chat.conversation import AnswerStream, TooLong
from korlhf.core.errors import InputError
from korlhf.llm import client, protocol
from korlhf.llm.checkpoint import answer_seed


class ServerBot:
    """model: as the server calls it; flags: flags.LlmFlags, of which base_url, api_key_env, request_timeout and
    max_retries are used; context_tokens: most tokens of a conversation and its answer, a message counted as its
    number of characters; 0 = the server says.

    Raises InputError for an address that is none, a server that is not there, and a key that is missing or refused.
    """

    def __init__(self, model, flags, context_tokens=0):
        client.Client(flags, None)  # refuses what cannot work
        self.name, self.context_tokens = model, context_tokens or None
        self.url = (flags.base_url or client.OPENAI).rstrip("/")
        self._key_env, self._key = flags.api_key_env, os.environ.get(flags.api_key_env, "").strip()
        timeout = httpx2.Timeout(flags.request_timeout, connect=client.CONNECT_TIMEOUT)
        self._server = openai.OpenAI(
            api_key=self._key or client.NO_KEY, base_url=self.url, timeout=timeout, max_retries=flags.max_retries
        )
        self._breaker = markers.Breaker(markers.PLAIN, markers.CONTROL)
        self._closed = False
        self._check()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the connections; answers that are on their way are cancelled."""
        self._closed = True
        self._server.close()

    def _check(self):
        """Ask for the list of models: any answer but a refusal of the key means that a server is there (few list what
        they serve)."""
        try:
            self._server.with_options(max_retries=0).models.with_raw_response.list()
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._problem(error) from None  # the package's own error could show a key that the server repeats
        except openai.OpenAIError as error:
            raise self._problem(error) from None

    def ask(self, messages, sampling, sample=0):
        """The AnswerStream to a conversation that ends with a user's message.

        sampling: llm.checkpoint.Sampling; sample: which answer of many.
        Raises TooLong if the last message has more than context_tokens characters, and InputError if it is no
        conversation."""
        messages = conversation.checked(messages)
        kept, left_out = conversation.cut(messages, lambda m: self._fits(m, sampling.max_new_tokens))
        if not self._fits(kept, sampling.max_new_tokens):
            raise TooLong(
                f"the message is too long: with the {sampling.max_new_tokens} tokens of the answer (--max_new_tokens) "
                f"only {self.context_tokens} fit; shorten it"
            )
        answer = AnswerStream(left_out)
        body = {
            "model": self.name,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": answer_seed(sampling.seed, messages, sample),
        }
        threading.Thread(target=self._answer, args=(answer, kept, body), daemon=True).start()
        return answer

    def _fits(self, messages, max_new_tokens):
        return (
            self.context_tokens is None
            or sum(len(m["content"]) for m in messages) + max_new_tokens <= self.context_tokens
        )

    def _answer(self, answer, messages, body):
        """Read the server's answer into `answer`. As long as it says that the conversation is too long, the oldest
        exchange goes."""
        while True:
            try:
                self._stream(answer, messages, body)
            except openai.BadRequestError as error:
                system, turns = conversation.parts(messages)
                if len(turns) > 1 and protocol.CONTEXT_ERROR.search(protocol.message_of(error)):
                    messages, answer.left_out = system + turns[2:], answer.left_out + 1
                    continue
                answer.fail(self._problem(error))
            except Exception as error:  # whatever it is, the one who waits must hear of it
                if self._closed:  # the connection was closed under it
                    answer.cancel()
                else:
                    answer.fail(
                        self._problem(error) if isinstance(error, (openai.OpenAIError, httpx2.HTTPError)) else error
                    )
            return

    def _stream(self, answer, messages, body):
        plain = [{"role": m["role"], "content": m["content"]} for m in self._breaker.messages(messages)]
        reason = None
        with self._server.chat.completions.create(**body, messages=plain, stream=True) as stream:
            for chunk in stream:
                if answer.cancelled:
                    return
                for choice in chunk.choices:
                    reason = choice.finish_reason or reason
                    answer.put(protocol.whole(choice.delta.content or choice.delta.refusal or ""))
        if reason is None:
            answer.fail(InputError(f"{self.url}: the answer broke off; ask again"))
        else:
            answer.finish("length" if reason == "length" else "stop")

    def _problem(self, error):
        """One line for a user, without the key."""
        said = protocol.message_of(error) if isinstance(error, openai.APIStatusError) else str(error.__cause__ or error)
        said = protocol.one_line(said, self._key)
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return InputError(
                f"--base_url {self.url}: the key is refused ({said}); put a valid one into the environment variable "
                f"{self._key_env}"
            )
        if status in (400, 404, 422):
            return InputError(f"{self.url}: it does not take the request for the model {self.name!r} ({said})")
        if isinstance(error, openai.APITimeoutError):
            return InputError(f"--base_url {self.url}: no answer in time; try again when the server is less busy")
        if isinstance(error, openai.APIConnectionError):
            return InputError(
                f"--base_url {self.url}: no connection ({said}); start the server, or correct the address"
            )
        return InputError(f"{self.url}: {said or type(error).__name__}; try again")
