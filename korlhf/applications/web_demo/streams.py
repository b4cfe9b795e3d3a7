"""Answers on their way (korlhf/applications/chat/conversation.py, which has threads) for asyncio (which the server
has)."""

import asyncio
import contextlib
import functools
import threading


async def pieces(answers):
    """(name, text) as the answers arrive, and (name, None) when one has ended. answers: {name: AnswerStream}.

    Raises what went wrong with one. Whoever leaves the loop, or is cancelled in it, stops all that are still on their
    way."""
    loop, inbox = asyncio.get_running_loop(), asyncio.Queue()
    for name, answer in answers.items():
        put = functools.partial(_put, loop, inbox, name)
        threading.Thread(target=_read, args=(answer, put), name="reader", daemon=True).start()
    on_their_way = set(answers)
    try:
        while on_their_way:
            found = [await inbox.get()]
            while not inbox.empty():
                found.append(inbox.get_nowait())
            for name, piece in _joined(found):
                if isinstance(piece, Exception):
                    raise piece
                if piece is None:
                    on_their_way.discard(name)
                yield name, piece
    finally:
        for name in on_their_way:
            answers[name].cancel()


def _read(answer, put):
    """In a thread of its own: pass on what an answer gives."""
    try:
        for piece in answer:
            put(piece)
        put(None)
    except Exception as error:  # whatever it is, the one who waits must hear of it
        put(error)


def _put(loop, inbox, name, piece):
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(inbox.put_nowait, (name, piece))


def _joined(found):
    """The same, texts of one answer that wait together in one piece: a busy server sends fewer, longer ones."""
    out = []
    for name, piece in found:
        if isinstance(piece, str) and out and out[-1][0] == name and isinstance(out[-1][1], str):
            out[-1] = (name, out[-1][1] + piece)
        else:
            out.append((name, piece))
    return out
