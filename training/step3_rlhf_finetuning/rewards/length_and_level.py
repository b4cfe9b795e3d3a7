"""Rewards of one's own: --reward output/reward 0.3*training/step3_rlhf_finetuning/rewards/length_and_level.py:polite

A function takes prompts, answers and, by their names, columns of the data set (`**columns`: all of them; `messages` and
`category` are always there), lists of the same length. It returns a number for each answer, or None: not scored.
"""

from korlhf.korean import friendly

SHORTEST, LONGEST = 20, 120  # characters


def length(prompts, answers):
    """1 within the band, less the further outside."""
    return [min(len(a) / SHORTEST, LONGEST / max(len(a), 1), 1.0) for a in answers]


def polite(prompts, answers):
    """1 for 존댓말, 0 for 반말; an answer without an ending of either is not scored."""
    scores = {"haeyo": 1.0, "hapsyo": 1.0, "mixed": 0.5, "banmal": 0.0, "none": None}
    return [scores[manner.level] for manner in friendly.manners(answers)]
