"""Conversations: bots that stream, their history, and what keeps user text from forging turns."""
