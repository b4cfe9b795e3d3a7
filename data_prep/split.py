"""Records -> disjoint training and test sets of the three steps: DIR/{sft,reward,prompts}_{train,test}.jsonl.

Records of equal or near-duplicate prompts (korlhf/data/near_duplicates.py) are one group, and a group is in one file
only: nothing that is trained on comes back as a test, nor in another step. Within each category the groups are dealt
out by largest remainder in the order of a hash, so every file has its share of every category, the result depends on
the data and the seed alone, and a few more records move few groups. DIR/split.jsonl says where each record went. Left
out: splitting again inside the training (give --data_split 1,0,0 and the like there).
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.files import whole_files
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data.split import parse_shares
from korlhf.data_prep import split


@dataclass(frozen=True, kw_only=True)
class SplitFlags:
    """split"""

    input: list[str] = flag(REQUIRED, "JSONL (or JSON, CSV, parquet) files of records")
    output_dir: str = flag(REQUIRED, "folder of the files to write", output="folder")
    shares: str = flag("2,4,4", "shares of the prompts for SFT, reward model and PPO; a step with 0 gets no files")
    test_share: float = flag(0.1, "share of each step held out as its test set; 0 = no test sets", low=0, below=1)
    exclude: list[str] = flag([], "files of prompts, e.g. a benchmark's: their equals and near-duplicates are left out")
    threshold: float = flag(
        0.8, "Jaccard similarity of character 3-grams from which two prompts are near-duplicates", above=0, high=1
    )
    seed: int = seed_flag("seed of the order in which groups are dealt out")

    def check(self, parser):
        try:
            parse_shares(self.shares)
        except InputError:
            parser.error(f"--shares {self.shares!r}: give three shares, one for each step, e.g. 2,4,4")


def main(argv=None):
    (args,) = parse(argv, "Training and test sets of the three steps without a shared prompt", SplitFlags)
    folder, shares = Path(args.output_dir).expanduser(), split.weights(args.shares, args.test_share)
    paths, inputs = {name: folder / f"{name}.jsonl" for name in split.CELLS}, [*args.input, *args.exclude]
    for path in inputs:
        if Path(path).expanduser().resolve() in {p.resolve() for p in paths.values()}:
            raise InputError(f"--output_dir {args.output_dir}: {path} would be overwritten; give another folder")
    used = [name for name, share in zip(split.CELLS, shares) if share]
    with stage.Stage("split", folder / "split.jsonl", args, inputs) as out:
        groups, excluded = split.read_groups(args.input, args.exclude, args.threshold)
        dealing = split.Dealing(groups, split.deal(groups, shares, args.seed), excluded)
        several = split.merged(groups)
        texts = dict.fromkeys(i for g in several[: split.EXAMPLES] for i in g.ids[: split.EXAMPLE_PROMPTS])
        with whole_files({name: paths[name] for name in used}, "--output_dir") as files:
            written = dealing.write(args.input, files, out, texts)
        for name in set(split.CELLS) - set(used):  # of other shares: its prompts may be in the new files
            paths[name].unlink(missing_ok=True)
        largest = max((len(g.rows) for g in groups), default=0)
        out.count("groups of near-same prompts", len(several))
        out.count("records in the largest group", largest)
        table = out.extra["table"] = dealing.table(shares, written)
        out.extra["near_same"] = split.near_same(several, largest, texts)
    print("\n".join(split.describe(table, out.rows, largest)))


if __name__ == "__main__":
    program.run(main, stage.STARTS_OVER)
