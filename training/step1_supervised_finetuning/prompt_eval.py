"""Answers of several models to the same prompts, side by side: a base and its fine-tuned model, or SFT, PPO and others.

Left out: beam search, contrastive search and top-k (a chatbot samples); scores of the answers (rw_eval.py of step 2).
"""

import json
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.ai_mark import mark_now
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.models.folders import check_inputs
from korlhf.rl.flags import EvalFlags
from korlhf.training.flags import step_parser

SAMPLED = "answers are sampled. Use --temperature (0 = greedy) and --top_p"
REFUSED = {
    **dict.fromkeys(["--num_beams", "--num_beam_groups", "--top_k", "--penalty_alpha"], SAMPLED),
    "--language": "prompts come from --prompt or --data_path, in any language. Delete the flag",
}


def parse(argv=None):
    parser = step_parser("Answers of several models to the same prompts, side by side", REFUSED)
    flags.add(parser, EvalFlags)
    args = flags.read(parser.parse_args(argv), EvalFlags)
    if not (args.model_name_or_path_baseline or args.model_name_or_path_finetune or args.model_name_or_path):
        parser.error("no model: give --model_name_or_path_baseline and _finetune, or --model_name_or_path NAME ...")
    if not args.prompt and not args.data_path:
        parser.error("no prompts: give --prompt or --data_path")
    if args.num_return_sequences > 1 and args.temperature == 0:
        n = args.num_return_sequences
        parser.error(f"--num_return_sequences {n}: greedy answers are all the same; set --temperature, e.g. 0.7")
    args.check_vllm()
    return args


def main():
    args = parse()
    check_inputs(args.data_path, args.models)
    with program.slow_imports():
        from korlhf.data.tokenize import within
        from korlhf.models.tokenizer import shown_template
        from korlhf.rl import prompt_eval
        from korlhf.training.world import World, resolve_dtype

    output = args.output_stem
    if args.output and output.is_dir():
        raise InputError(f"--output {args.output}: is a folder; give a file name, e.g. {output / 'answers'}")
    output.parent.mkdir(parents=True, exist_ok=True)
    models, device = prompt_eval.named_models(args), World.alone().device
    dtype = resolve_dtype(args.dtype, device)
    codecs, prompts = prompt_eval.load_codecs(models, args), prompt_eval.load_prompts(args)

    # What one model cannot read, the others are not asked either.
    ids = [[codec.prompt(messages).ids for messages, _ in prompts] for codec in codecs]
    longest = [max(map(len, of_prompt)) for of_prompt in zip(*ids)]
    kept = within(longest, args.max_prompt_seq_len, "prompts", "--max_prompt_seq_len")
    rows = [{"messages": list(prompts[i][0]), "category": prompts[i][1], "answers": {}} for i in kept]
    how = {name: getattr(args, name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}
    result = {
        **mark_now(),
        **how,
        "dtype": dtype,
        "rollout": args.rollout,
        "versions": program.versions(),
        "models": [],
        "prompts": rows,
    }
    for model, codec, own in zip(models, codecs, ids):
        asked = [own[i] for i in kept]
        answers = prompt_eval.answers_of(model, codec, asked, args, device, dtype)
        for row, of_prompt in zip(rows, answers):
            row["answers"][model.name] = of_prompt
        template, means = shown_template(codec.tokenizer), prompt_eval.means(answers)
        result["models"].append({"name": model.name, "path": model.path, "template": template, "means": means})
        sampling = f"seed {args.seed}, temperature {args.temperature}, top-p {args.top_p}, {dtype}"
        shown = json.dumps(template, ensure_ascii=False)
        print(f"{model.name}: {model.path} ({sampling}), written to as {shown}")
    prompt_eval.show(result)
    if args.output:
        Path(f"{output}.md").write_text(prompt_eval.markdown(result), encoding="utf-8")
        write_json(f"{output}.json", result)
        print(f"written: {output}.md, {output}.json")


if __name__ == "__main__":
    program.run(main)
