"""The raw corpora as they come from their publishers: NIKL's everyday conversations and AIHub 558, in folders or zips.

Left out: recordings, AIHub's plain-text copies, and what single annotators voted.
"""
