"""What a reward model is worth on any pairs, and what it says about single answers.

Pairs: accuracy by category with n and a 95 % interval, the margin, and the best trivial rules on the same pairs. A
prompt: its answers with their scores, best first. One process, a GPU if there is one. Left out: several GPUs (packed
scoring is one forward pass per batch).
"""

import json
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.models.folders import check_inputs
from korlhf.training.eval_flags import EvalFlags
from korlhf.training.flags import step_parser


def parse(argv=None):
    parser = step_parser("Score pairs of answers, or the answers to one prompt, with a reward model")
    flags.add(parser, EvalFlags)
    args = flags.read(parser.parse_args(argv), EvalFlags)
    if not args.data_path and not args.prompt:
        parser.error("nothing to score: give --data_path, or --prompt with --answer")
    if bool(args.prompt) != bool(args.answer):
        parser.error("--prompt and --answer belong together: give the prompt once and one or more answers")
    if args.min_margin and not args.margin_column:
        parser.error(f"--min_margin {args.min_margin:g} needs --margin_column, the column that the margins are in")
    if args.train_data_path and not args.data_path:
        parser.error("--train_data_path is for the trivial rules on --data_path; give that too, or delete it")
    return args


def main():
    args = parse()
    check_inputs([*args.data_path, *args.train_data_path], [("--model_name_or_path", args.model_name_or_path)])
    with program.slow_imports():
        from korlhf.models.tokenizer import shown_template
        from korlhf.training import rw_eval

    output = Path(args.output).expanduser()
    if args.output:
        if output.is_dir():
            raise InputError(f"--output {args.output}: is a folder; give a file name, e.g. {output / 'rw_eval.json'}")
        output.parent.mkdir(parents=True, exist_ok=True)
    scorer = rw_eval.Scorer(args)
    template = shown_template(scorer.codec.tokenizer)
    print(f"reward model: {args.model_name_or_path} ({scorer.dtype}, {scorer.world.device.type})")
    print(f"template: {json.dumps(template, ensure_ascii=False)}")
    figures = {"model": args.model_name_or_path, "template": template, "dtype": scorer.dtype, "seed": args.seed}
    figures |= {"max_seq_len": args.max_seq_len, "versions": program.versions()}
    rows = []
    if args.prompt:
        figures["single"] = rw_eval.score_answers(scorer)
    if args.data_path:
        of_pairs, rows = rw_eval.evaluate_pairs(scorer)
        figures.update(of_pairs)
    if args.output:
        rw_eval.write(output, figures, rows)


if __name__ == "__main__":
    program.run(main)
