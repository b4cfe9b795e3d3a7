"""A local model that answers any number of users at once: all live answers take one token at a time (live.py).

Left out: a cache of answers (people expect another one when they ask again), several GPUs (serve the model, and ask
the server)."""

import functools
import queue
import threading
from dataclasses import dataclass

import torch

from korlhf.applications.chat import conversation, live, markers
from korlhf.applications.chat.conversation import AnswerStream, TooLong
from korlhf.core.errors import InputError
from korlhf.llm.checkpoint import answer_seed

MAX_ROWS = 32  # answers that are sampled together; more wait


@dataclass(eq=False)
class _Request:
    """An answer in the hands of the sampling thread."""

    row: live.Row
    answer: AnswerStream
    stream: live.TextStream


class LocalBot:
    """A model folder or LoRA folder that answers. A context manager; `ask` may be called from any thread.

    checkpoint: llm.checkpoint.Checkpoint; context_tokens: most tokens of a conversation and its answer, 0 = as many
    as the model has positions."""

    def __init__(self, checkpoint, context_tokens=0):
        self.name, self.codec, self.dtype = checkpoint.path, checkpoint.codec, checkpoint.dtype
        self.context_tokens = min((n for n in (context_tokens, checkpoint.positions) if n), default=None)
        self._breaker = markers.Breaker(markers.of_template(self.codec))
        # A tokenizer is switched between reading special tokens and not: two threads at once could let a typed one
        # through.
        self._tokenizing = threading.Lock()
        self._asked, self._closed = queue.SimpleQueue(), threading.Event()
        self._lm, self._live = checkpoint.load().eval(), {}  # row -> _Request
        self._batch = live.Batch(self._lm, self.codec.eos_token_id)
        self._thread = threading.Thread(target=self._work, name=f"sampling {self.name}", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all answers and the thread."""
        with self._tokenizing:
            self._closed.set()
        self._asked.put(None)
        self._thread.join()

    def ask(self, messages, sampling, sample=0):
        """The AnswerStream to a conversation that ends with a user's message.

        sampling: llm.checkpoint.Sampling; sample: which answer of many.
        Conversation, seed and `sample` decide the random stream. Raises TooLong if the last message does not fit, and
        InputError."""
        messages = conversation.checked(messages)
        seed = answer_seed(sampling.seed, messages, sample)
        with self._tokenizing:
            if self._closed.is_set():
                raise InputError("the bot is closed")
            kept, left_out = conversation.cut(messages, functools.partial(self._fits, sampling.max_new_tokens))
            ids = self._ids(kept)
            if not self._fits(sampling.max_new_tokens, kept):
                raise TooLong(
                    f"the message is too long: with its template it has {len(ids)} tokens, and {self.context_tokens} "
                    f"are all that fit, {sampling.max_new_tokens} of them for the answer (--max_new_tokens); shorten it"
                )
            answer = AnswerStream(left_out)
            self._asked.put(_Request(live.row(ids, sampling, seed), answer, live.TextStream(self.codec)))
        return answer

    def _fits(self, max_new_tokens, messages):
        return self.context_tokens is None or len(self._ids(messages)) + max_new_tokens <= self.context_tokens

    def _ids(self, messages):
        return self.codec.prompt(self._breaker.messages(messages)).ids

    def _work(self):
        """The sampling thread: it alone touches the model."""
        while not self._closed.is_set():
            arrived = self._arrived()
            try:
                self._advance(arrived)
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._give_up(error, [*self._live.values(), *arrived])
                self._live, self._batch = {}, live.Batch(self._lm, self.codec.eos_token_id)
        waiting = [self._asked.get() for _ in range(self._asked.qsize())]  # nothing joins a queue that is closed
        self._give_up(InputError("the bot is closed"), [*self._live.values(), *filter(None, waiting)])

    def _arrived(self):
        """New requests, as many as there is room for; waits for one if nothing is live."""
        arrived = []
        while len(self._live) + len(arrived) < MAX_ROWS:
            try:
                request = self._asked.get(block=not self._live and not arrived)
            except queue.Empty:
                break
            if request is None:  # closed
                break
            arrived.append(request)
        return arrived

    def _advance(self, arrived):
        """One token of every answer that is wanted."""
        self._live = {row: request for row, request in self._live.items() if not request.answer.cancelled}
        self._batch.keep(self._live)
        if self._live:
            self._batch.step()
        self._join([request for request in arrived if not request.answer.cancelled])
        self._live = {row: request for row, request in self._live.items() if not self._hand_out(request)}
        self._batch.keep(self._live)

    def _join(self, requests):
        try:
            if requests:
                self._batch.add([request.row for request in requests])
                self._live.update({request.row: request for request in requests})
        except torch.OutOfMemoryError as error:  # the others continue
            self._give_up(error, requests)

    def _hand_out(self, request):
        """Pass the newest token's text on; whether the answer has ended with it."""
        row, answer = request.row, request.answer
        stopped = row.tokens[-1] == self.codec.eos_token_id
        ended = stopped or len(row.tokens) == len(row.noise)
        with self._tokenizing:
            answer.put(request.stream.add(row.tokens[-1]))
            answer.put(request.stream.end() if ended else "")
        if ended:
            answer.finish("stop" if stopped else "length")
        return ended

    def _give_up(self, error, requests):
        if isinstance(error, torch.OutOfMemoryError):
            error = InputError(
                "too many answers at once for the GPU's memory; ask again, or with a shorter conversation"
            )
        for request in requests:
            request.answer.fail(error)
