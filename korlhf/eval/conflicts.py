"""Responders that a judge cannot judge fairly: models that were trained to please it, and the judge itself."""

import json
from pathlib import Path

from korlhf.core.tables import both
from korlhf.llm import checkpoint as local


def of(judge, responders):
    """Warnings (tables.both). judge: of judges.open_judge; responders: {name: how its answers came}, as responders.answers returns it."""
    if judge.kind == "reward_model":
        found = [
            _trained_against(judge, name, how["model"])
            for name, how in responders.items()
            if how["kind"] == "checkpoint"
        ]
        return [line for line in found if line]
    return [
        both(
            f"the judge {judge.name} is the same model as the responder {name}: models prefer their own answers",
            f"심판 {judge.name}은(는) 답변한 모델 {name}과(와) 같은 모델입니다. 모델은 자기 답변을 더 좋게 봅니다",
        )
        for name, how in responders.items()
        if _same(judge, how)
    ]


def _same(judge, how):
    if judge.kind == "openai":
        return how["kind"] == "server" and how["model"] == judge.name
    return how.get("fingerprint") == judge.fingerprint


def _trained_against(judge, name, path):
    """A warning if the model in `path` is of a step 3 run against this reward model, or against one that cannot be compared any more."""
    recorded = reward_model_of(path)
    if recorded is None:
        return None
    there = Path(recorded).expanduser().is_dir()
    if recorded == judge.path or (there and local.fingerprint(recorded) == judge.fingerprint):
        return both(
            f"{name} was trained by PPO to get high scores of this very reward model ({recorded}): a higher score is what it was "
            "trained for and no proof of better answers; take another judge",
            f"{name}은(는) 바로 이 보상 모델({recorded})의 점수를 높이도록 PPO로 학습한 모델입니다. 점수가 더 높은 것은 학습의 결과일 뿐, "
            "답변이 나아졌다는 증거가 아닙니다. 다른 심판을 쓰세요",
        )
    if not there:
        return both(
            f"{name} was trained by PPO against the reward model {recorded}, which is not there any more: if it is the judge, a "
            "higher score is what it was trained for and no proof of better answers",
            f"{name}은(는) 보상 모델 {recorded}의 점수를 높이도록 PPO로 학습한 모델인데, 그 모델이 지금은 그 자리에 없습니다. 심판이 바로 그 "
            "모델이라면 더 높은 점수는 학습의 결과일 뿐, 답변이 나아졌다는 증거가 아닙니다",
        )
    return None


def reward_model_of(path):
    """The reward model that the settings of a step 3 run name. path: its folder, or one in it (best/, actor_ema/); None for others."""
    folder = Path(path).expanduser().resolve()
    for file in (folder / "settings.json", folder.parent / "settings.json"):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or some other program's file of that name
            continue
        if isinstance(settings, dict) and "actor_model_name_or_path" in settings:
            return settings.get("reward_model_name_or_path") or settings.get("critic_model_name_or_path")
    return None
