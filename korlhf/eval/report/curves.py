"""Which curves are drawn of a stage's metrics.jsonl, under which names."""

from korlhf.core.tables import both
from korlhf.eval.report import charts

TRAINING, HELDOUT = both("training", "학습"), both("held-out", "평가용")
MAIN = {  # metric -> title; the training line and the line `heldout_METRIC` share a chart
    "loss": both("Loss", "손실"),
    "accuracy": both("Accuracy (share of pairs ranked right)", "정확도 (순위를 맞힌 쌍의 비율)"),
    "margin": both("Margin between chosen and rejected", "선택된 답변과 탈락한 답변의 점수 차"),
    "score": both("Reward-model score", "보상 모델 점수"),
    "kl": both("KL to the reference (nats per answer)", "기준 모델과의 KL (답변당 nat)"),
    "eos_rate": both("EOS rate (answers that end by themselves)", "EOS 비율 (스스로 끝맺은 답변)"),
    "length": both("Answer length (tokens)", "답변 길이 (토큰)"),
    "friendly": both("Friendly share (written rules)", "친절한 답변의 비율 (규칙으로 판정)"),
    "repetition": both("Repetition within answers", "답변 안의 반복"),
}
MORE = {  # drawn too, but folded
    "reward": both("Reward after KL (per answer)", "KL을 뺀 보상 (답변당)"),
    "entropy": both("Entropy (nats per token)", "엔트로피 (토큰당 nat)"),
    "policy_loss": both("Policy loss", "정책 손실"),
    "value_loss": both("Value loss", "가치 손실"),
    "explained_variance": both("Explained variance of the values", "가치 함수의 설명 분산"),
    "clip_fraction": both("Clipped share of the ratios", "잘린 비율의 몫"),
    "ratio_max": both("Largest ratio", "가장 큰 비율"),
    "ratio_min": both("Smallest ratio", "가장 작은 비율"),
    "approx_kl": both("KL of one update", "한 번의 갱신에서 생긴 KL"),
    "kl_coef": both("KL coefficient", "KL 계수"),
    "kl_k3": both("KL to the reference, k3 estimate", "기준 모델과의 KL, k3 추정"),
    "lr": both("Learning rate", "학습률"),
    "grad_norm": both("Gradient norm", "기울기 노름"),
    "tokens_per_second": both("Tokens per second", "초당 토큰"),
    "sampled_tokens_per_second": both("Sampled tokens per second", "초당 생성 토큰"),
    "trained_tokens_per_second": both("Trained tokens per second", "초당 학습 토큰"),
    "seconds_sampling": both("Seconds of sampling", "생성에 걸린 초"),
    "seconds_scoring": both("Seconds of scoring", "채점에 걸린 초"),
    "seconds_training": both("Seconds of training", "학습에 걸린 초"),
}
NOT_DRAWN = {"step", "epoch", "answers"}
FEW = 40  # points of a line that are marked one by one


def of_stage(metrics):
    """(charts, folded charts) of a metrics.jsonl's lines: lists of {"title", "chart": see charts.lines}, those without points left out."""
    names = dict.fromkeys(name for row in metrics for name, value in row.items() if charts.finite(value))
    bare = list(dict.fromkeys(name.removeprefix("heldout_") for name in names if name not in NOT_DRAWN))
    main = [_panel(name, title, metrics) for name, title in MAIN.items() if name in bare]
    others = {**MORE, **{name: both(name, name) for name in bare if name not in MAIN and name not in MORE}}
    return main, [_panel(name, title, metrics) for name, title in others.items() if name in bare]


def _panel(name, title, metrics):
    series = []
    for key, label in ((name, TRAINING), (f"heldout_{name}", HELDOUT)):
        points = [(row["step"], row[key]) for row in metrics if charts.finite(row.get(key))]
        if points:
            series.append({"name": label, "points": points, "marked": key != name or len(points) <= FEW})
    return {"title": title, "heldout": [s["name"] is HELDOUT for s in series], "chart": charts.lines(series)}
