"""A project of four quick stages with real scripts, and a program that runs them: python fake_project.py FOLDER [FROM].

corpus.txt -> data -> train -> page          data: upper case;  train: keeps what main.py of a training promises
                `---> count ---'             (other settings are refused, a stopped run goes on, a finished one is left alone)
"""

import os
import sys
from pathlib import Path

import pytest

from korlhf.pipeline import run as runs
from korlhf.pipeline import state
from korlhf.pipeline.stages import Need, Stage

SCRIPTS = {
    "data": """
        [[ -z "${SLEEP_DATA:-}" ]] || { echo waiting >>"$RAN"; sleep "$SLEEP_DATA"; }
        tr a-z A-Z <"$1" >"$2.part"
        mv "$2.part" "$2" """,
    "train": r"""
        EPOCHS="${EPOCHS:-3}"
        data="$1" out="$2"
        trap 'echo "train got INT" | tee -a "$RAN"; exit 130' INT
        trap 'echo "train got TERM" | tee -a "$RAN"; exit 143' TERM
        [[ -z "${BEFORE:-}" ]] || { echo before >>"$RAN"; sleep "$BEFORE"; }
        [[ "${3:-} ${4:-}" != *--overwrite_output_dir* ]] || rm -rf "$out"
        mkdir -p "$out/checkpoints"
        [[ ! -f "$out/settings.json" || "$(<"$out/settings.json")" == "$EPOCHS" ]] || { echo "error: other settings in $out"; exit 2; }
        echo "$EPOCHS" >"$out/settings.json.part" && mv "$out/settings.json.part" "$out/settings.json"
        [[ ! -f "$out/finished.json" ]] || { echo "finished already"; exit 0; }
        done="$(cat "$out/checkpoints/step" 2>/dev/null || echo 0)"
        for ((i = done + 1; i <= EPOCHS; i++)); do
            printf 'training\r%s%%|##  |\r' "$i"
            echo "step $i" >>"$RAN"
            echo "$i" >"$out/checkpoints/step"
            if [[ "$i" == 2 && -n "${SLOW:-}" ]]; then sleep "$SLOW" & wait $!; fi
        done
        printf '100%%|####|\n'
        { cat "$data"; echo "$EPOCHS epochs"; } >"$out/model.safetensors"
        echo '{"peak_memory_mb": 1.0}' >"$out/finished.json" """,
    "count": """
        UNIT="${UNIT:--c}"
        [[ -z "${FAIL:-}" ]] || { echo 세지 못함 >&2; exit "$FAIL"; }
        [[ -z "${EMPTY:-}" ]] || { echo "label first"; exit 0; }
        [[ -z "${SPOIL:-}" ]] || echo spoilt >>"$1"
        wc "$UNIT" <"$1" >"$2" """,
    "page": """
        cat "$1/model.safetensors" "$2" >"$3" """,
}


class Project:
    """The folder, its stages, and what ran in it."""

    def __init__(self, folder, **environ):
        self.root = Path(folder)
        self.run_folder = self.root / "실행 folder"
        self.environ = {**os.environ, "RAN": str(self.root / "ran"), **environ}
        self.given, self.needs = {"train": {}, "count": {}}, ()
        self.root.mkdir(parents=True, exist_ok=True)
        for name, text in SCRIPTS.items():
            path = self.root / f"{name}.sh"
            if not path.exists():
                lines = [line.removeprefix("        ") for line in text.strip("\n").rstrip().split("\n")]
                path.write_text("\n".join(["set -euo pipefail", f'echo {name} >>"$RAN"', *lines, ""]), encoding="utf-8")
        self.corpus = self.root / "corpus.txt"
        if not self.corpus.exists():
            self.corpus.write_text("가나다 abc\n", encoding="utf-8")

    @property
    def stages(self):
        run, root = self.run_folder, self.root
        model, data = run / "train", run / "data.txt"
        return [
            Stage(
                name="data",
                title="the data",
                command=f"bash '{root}/data.sh' '{self.corpus}' '{data}'",
                reads=(self.corpus,),
                writes=(data,),
                scripts=(root / "data.sh",),
                needs=(Need("path", str(self.corpus), "write it"),),
            ),
            Stage(
                name="train",
                title="the training",
                command=f"bash '{root}/train.sh' '{data}' '{model}'",
                reads=(data,),
                given=self.given["train"],
                writes=(model, model / "finished.json"),
                scripts=(root / "train.sh",),
                reset="--overwrite_output_dir",
                begun=model / "settings.json",
            ),
            Stage(
                name="count",
                title="the count",
                command=f"bash '{root}/count.sh' '{data}' '{run}/count.txt'",
                reads=(data,),
                writes=(run / "count.txt",),
                given=self.given["count"],
                scripts=(root / "count.sh",),
                needs=self.needs,
            ),
            Stage(
                name="page",
                title="the page",
                command=f"bash '{root}/page.sh' '{model}' '{run}/count.txt' '{run}/page.html'",
                reads=(model, run / "count.txt"),
                writes=(run / "page.html",),
                scripts=(root / "page.sh",),
            ),
        ]

    def pipeline(self):
        return runs.Pipeline(self.stages, self.run_folder, self.root, {"recipe": "fake", "model": ""}, self.environ)

    def run(self, first="", last="", only=""):
        """Run it; (exit code, names of the stages that ran, in order)."""
        code = runs.run(self.pipeline(), state.Choice(first, last, only))
        return code, [line for line in self.took() if line in SCRIPTS]

    def took(self):
        """What the scripts noted since the last call."""
        path = self.root / "ran"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def states(self, **choice):
        return {name: found.kind for name, found in self.pipeline().survey(state.Choice(**choice)).items()}

    @property
    def model(self):
        return self.run_folder / "train" / "model.safetensors"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "프로젝트 a")


if __name__ == "__main__":
    fake = Project(sys.argv[1])
    if "EPOCHS_OF_TRAIN" in os.environ:
        fake.given["train"] = {"EPOCHS": os.environ["EPOCHS_OF_TRAIN"]}
    sys.exit(runs.run(fake.pipeline(), state.Choice(*sys.argv[2:3])))
