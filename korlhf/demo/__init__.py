"""The web demo behind its page: limits, sessions, answers on their way, votes, log-in, HTTP."""
