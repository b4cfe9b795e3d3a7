"""What the stand-in HTTP servers share: a thread that serves while a `with` lasts."""

import threading


class Loopback:
    """http: a server of http.server; stopping: an Event for handlers that wait, if there are any."""

    http = stopping = None

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        if self.stopping:
            self.stopping.set()
        self.http.shutdown()
        self.http.server_close()
