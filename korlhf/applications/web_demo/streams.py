"""Answers on their way (korlhf/applications/chat/conversation.py, which has threads) for asyncio (the server)."""

import asyncio
import contextlib
import itertools
import threading


async def pieces(answers):
    """(name, text) as the answers arrive, and (name, None) when one has ended. answers: {name: AnswerStream}.

    Texts of one answer that wait together come in one piece: a busy server sends fewer, longer ones. Raises what went
    wrong with one. Whoever leaves the loop, or is cancelled in it, stops all that are still on their way."""
    loop, inbox = asyncio.get_running_loop(), asyncio.Queue()

    def read(name, answer):
        """In a thread of its own: pass on what an answer gives."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                for piece in answer:
                    loop.call_soon_threadsafe(inbox.put_nowait, (name, piece))
                loop.call_soon_threadsafe(inbox.put_nowait, (name, None))
            except Exception as error:  # whatever it is, the one who waits must hear of it
                loop.call_soon_threadsafe(inbox.put_nowait, (name, error))

    for item in answers.items():
        threading.Thread(target=read, args=item, name="reader", daemon=True).start()
    on_their_way = set(answers)
    try:
        while on_their_way:
            waiting = [await inbox.get()] + [inbox.get_nowait() for _ in range(inbox.qsize())]
            for (name, is_text), items in itertools.groupby(waiting, key=lambda i: (i[0], isinstance(i[1], str))):
                if is_text:
                    yield name, "".join(piece for _, piece in items)
                    continue
                for _, end in items:
                    if isinstance(end, Exception):
                        raise end
                    on_their_way.discard(name)
                    yield name, None
    finally:
        for name in on_their_way:
            answers[name].cancel()
