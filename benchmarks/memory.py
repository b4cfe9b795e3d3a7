"""GPU memory of the three steps, computed: `python benchmarks/memory.py` prints the tables of the README as Markdown.

One line instead:   python benchmarks/memory.py --step 1 --hidden 4096 --layers 28 --vocab 30080 --lora_dim 16 --batch
8 Nothing is measured here: byte counts follow from the shape of a GPT-NeoX model, from how DeepSpeed 0.19 keeps its
states, and from which tensors the backward pass keeps. Counts are upper bounds where the data decides (every sequence
as long as allowed). Left out: the CUDA context and what the allocator cannot use, for which FILL leaves room; memory
of the host.
"""

from dataclasses import dataclass, replace

from korlhf.core.flags import Parser, add, check_positive, flag, read

GIB = 2**30
ELEMENT = {"bf16": 2, "fp16": 2, "fp32": 4}
# elements of DeepSpeed's gradient bucket (reduce_bucket_size), made whole however few weights are trained
BUCKET = 500_000_000
LIVE = 1_000_000_000  # parameters that ZeRO-3 may hold gathered (stage3_max_live_parameters)
# hidden vectors per token and layer kept for backward: input 1, norms 2, qkv 3, rotated q and k 2, attention 2, MLP 8
LAYER_KEPT = 18
LAYER_MOVING = 8  # hidden vectors per token of gradients in flight in the layer that is being differentiated
LAYER_NO_GRAD = 12  # hidden vectors per token alive at once in a forward pass without gradients
CHUNK_LOGITS = 2**26  # logits alive at once (korlhf/models/causal_lm.py)
LOGITS_TRAINED = 12  # bytes per logit: log-probabilities, their gradient and that of the logits, in fp32
LOGITS_SCORED = 10  # bytes per logit without gradients: in bf16, in fp32, and the log-probabilities
ANSWERS = 2  # per prompt in step 2
FILL = 0.9  # share of the GPU that may be planned
GPU_SIZES = (24, 40, 80)
BATCHES = (32, 16, 8, 4, 2, 1)
TABLE_LORA_DIM = 16
TABLE_SEQ_LEN = 512


@dataclass(frozen=True)
class Shape:
    """A GPT-NeoX model: `params` of them all, output embedding included."""

    name: str
    params: int
    hidden: int
    layers: int
    vocab: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """setting"""

    gpus: int = flag(1, "processes, one per GPU")
    zero_stage: int = flag(2, "ZeRO stage", choices=[0, 1, 2, 3])
    lora_dim: int = flag(0, "LoRA rank; 0 trains all weights")
    offload: bool = flag(False, "optimizer states (ZeRO 3: weights too) in CPU memory")
    dtype: str = flag("bf16", "precision", choices=sorted(ELEMENT))
    batch: int = flag(8, "sequences (step 2: prompts, step 3: answers) per process and forward pass")
    seq_len: int = flag(512, "tokens of prompt and answer")
    no_gradient_checkpointing: bool = flag(False, "keep all activations")

    @property
    def element(self):
        return ELEMENT[self.dtype]


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """model: without flags the README's tables are printed"""

    step: int = flag(1, "training step (in step 3 the critic has the actor's shape)", choices=[1, 2, 3])
    params: int = flag(0, "parameters; 0 = computed from --hidden, --layers and --vocab")
    hidden: int = flag(0, "width of the model")
    layers: int = flag(0, "its layers")
    vocab: int = flag(30_080, "rows of its embedding; 30080 is Polyglot-Ko's")


def neox_params(hidden, layers, vocab):
    """Parameters of GPT-NeoX with an MLP of 4 x hidden, biases, two norms per layer and untied embeddings."""
    return 2 * vocab * hidden + layers * (12 * hidden**2 + 13 * hidden) + 2 * hidden


def neox(name, hidden, layers, vocab=30_080):
    return Shape(name, neox_params(hidden, layers, vocab), hidden, layers, vocab)


MODELS = (neox("1.3B", 2048, 24), neox("3.8B", 3072, 32), neox("5.8B", 4096, 28), neox("12.8B", 5120, 40))
CRITIC_OF = {"12.8B": "5.8B"}  # as the run scripts pair them; every other actor has a critic of its own size


def as_reward(shape):
    """The same model with one score a token in the place of the output embedding."""
    return replace(shape, params=shape.params - shape.vocab * shape.hidden + shape.hidden)


def trained(shape, lora_dim):
    """Parameters that are trained: all, or LoRA's two matrices at query_key_value (hidden -> 3 x hidden) of every
    layer.
    """
    return lora_dim * 4 * shape.hidden * shape.layers if lora_dim else shape.params


def weights(shape, setting):
    """Bytes of the weights at rest; ZeRO-3 spreads them, and with offload keeps them on the host."""
    adapter = trained(shape, setting.lora_dim) if setting.lora_dim else 0
    whole = (shape.params + adapter) * setting.element
    if setting.zero_stage == 3:
        return min(shape.params, LIVE) * setting.element + (0 if setting.offload else whole / setting.gpus)
    return whole


def optimizer(shape, setting):
    """Bytes of the fp32 master weights and Adam's two moments; spread from stage 1 on, on the host with offload."""
    if setting.offload:
        return 0
    master = 0 if setting.dtype == "fp32" and setting.zero_stage == 0 else 4
    return trained(shape, setting.lora_dim) * (master + 8) / (setting.gpus if setting.zero_stage else 1)


def gradients(shape, setting):
    """Bytes of the gradients between two optimizer steps; spread from stage 2 on, on the host with offload."""
    if setting.offload and setting.zero_stage >= 2:
        return 0
    return trained(shape, setting.lora_dim) * setting.element / (setting.gpus if setting.zero_stage >= 2 else 1)


def step_copy(shape, setting):
    """Bytes of the fp32 gradient that exists only while the optimizer steps."""
    return 0 if setting.offload else trained(shape, setting.lora_dim) * 4 / (setting.gpus if setting.zero_stage else 1)


def bucket(setting):
    return BUCKET * setting.element if setting.zero_stage else 0


def activations(shape, tokens, setting):
    """Bytes kept for the backward pass of `tokens`: of all layers, or with checkpointing each layer's input and one
    layer's inside.
    """
    whole = shape.layers * LAYER_KEPT
    vectors = whole if setting.no_gradient_checkpointing else shape.layers + LAYER_KEPT
    return tokens * shape.hidden * (vectors + LAYER_MOVING) * setting.element


def cache(shape, tokens, setting):
    """Bytes of keys and values of every layer."""
    return 2 * shape.layers * shape.hidden * tokens * setting.element


def logits_trained(shape, tokens, setting):
    """Bytes of the logits of `tokens` that are trained: of one chunk, and its gradient of the output embedding."""
    count = tokens * shape.vocab
    second = shape.vocab * shape.hidden * setting.element if count > CHUNK_LOGITS and not setting.lora_dim else 0
    return min(count, CHUNK_LOGITS) * LOGITS_TRAINED + second


def start_up(shape, setting):
    """Bytes of the weights as they are read: with ZeRO-3 a process keeps its share, and one matrix is whole."""
    if setting.zero_stage == 3:
        share = 0 if setting.offload else shape.params / setting.gpus
        return (share + shape.vocab * shape.hidden) * setting.element
    return 0 if setting.offload else shape.params * setting.element


def phases_of_one(shape, setting, tokens, logits):
    """Peak bytes of each phase of step 1 or 2.

    tokens in a forward pass; logits: token positions that get a row of the vocabulary.
    """
    rest = weights(shape, setting) + optimizer(shape, setting)
    grads = gradients(shape, setting)
    forward = activations(shape, tokens, setting) + logits_trained(shape, logits, setting)
    return {
        "start-up": start_up(shape, setting),
        "training": rest + grads + bucket(setting) + forward,
        "optimizer": rest + grads + step_copy(shape, setting),
    }


def phases_of_ppo(actor, critic, setting):
    """Peak bytes of each phase of step 3: half of seq_len is prompt, half answer; as many prompts are sampled at once
    as are trained.
    """
    tokens = setting.batch * setting.seq_len
    answers = setting.batch * (setting.seq_len // 2)
    frozen = replace(setting, lora_dim=0, offload=False)  # --offload is about the trained models
    reference = 0 if setting.lora_dim else weights(actor, frozen)
    trained_models = sum(weights(m, setting) + optimizer(m, setting) for m in (actor, critic))
    rest = reference + trained_models + weights(critic, frozen)
    grads = gradients(actor, setting) + gradients(critic, setting)
    gathered = actor.params * setting.element if setting.zero_stage == 3 else 0  # whole weights to sample with
    work = tokens * actor.hidden * LAYER_NO_GRAD * setting.element
    logits = logits_trained(actor, answers, setting)
    # One update per step: the passes of both are kept from scoring until their backward passes.
    update = activations(actor, tokens, setting) + logits + activations(critic, tokens, setting)
    return {
        "start-up": reference + weights(critic, frozen) + start_up(actor, setting) + start_up(critic, setting),
        "sampling": rest + gathered + cache(actor, tokens, setting) + work,
        "scoring": rest + work + min(answers * actor.vocab, CHUNK_LOGITS) * LOGITS_SCORED,
        "training": rest + grads + bucket(setting) + update,
        "optimizer": rest + grads + max(step_copy(actor, setting), step_copy(critic, setting)),
    }


def phases(step, shape, setting, critic=None):
    """Phase -> peak bytes on each GPU in `step` 1, 2 or 3.

    critic: of step 3, also the reward model's shape; None: the actor's.
    """
    tokens = setting.batch * setting.seq_len
    if step == 1:
        return phases_of_one(shape, setting, tokens, tokens)
    if step == 2:
        return phases_of_one(as_reward(shape), setting, ANSWERS * tokens, 0)
    return phases_of_ppo(shape, as_reward(critic or shape), setting)


def peak(step, shape, setting, critic=None):
    return max(phases(step, shape, setting, critic).values())


def largest(step, shape, setting, gpu, critic):
    """`setting` with the largest of BATCHES that a GPU of `gpu` GiB holds, or None."""
    tried = (replace(setting, batch=b) for b in BATCHES)
    return next((s for s in tried if peak(step, shape, s, critic) <= gpu * GIB * FILL), None)


def choose(step, shape, gpu, lora_dim, critic=None):
    """The simplest Setting that fits: one GPU; with offload, if that at least doubles a batch below 8; ZeRO-3 on 2 to
    16 GPUs; or None.
    """
    base = Setting(lora_dim=lora_dim, seq_len=TABLE_SEQ_LEN)
    plain, offloaded = (largest(step, shape, s, gpu, critic) for s in (base, replace(base, offload=True)))
    if plain and (plain.batch >= 8 or not offloaded or offloaded.batch < 2 * plain.batch):
        return plain
    if offloaded:
        return offloaded
    tried = (largest(step, shape, replace(base, gpus=n, zero_stage=3), gpu, critic) for n in (2, 4, 8, 16))
    return next((s for s in tried if s), None)


def cell(step, shape, gpu, lora_dim):
    name = "LoRA" if lora_dim else "full"
    critic = next((m for m in MODELS if m.name == CRITIC_OF.get(shape.name)), None)
    found = choose(step, shape, gpu, lora_dim, critic)
    if found is None:
        return f"{name}: -"
    how = ", offload" if found.offload else f", {found.gpus} GPUs, ZeRO 3" if found.gpus > 1 else ""
    return f"{name}: {found.batch}{how} ({peak(step, shape, found, critic) / GIB:.1f} GiB)"


def tables():
    """The README's three tables."""
    out = []
    for step in (1, 2, 3):
        out += [f"| step {step} | " + " | ".join(m.name for m in MODELS) + " |", "|---" * (len(MODELS) + 1) + "|"]
        for gpu in GPU_SIZES:
            cells = (f"{cell(step, m, gpu, 0)}<br>{cell(step, m, gpu, TABLE_LORA_DIM)}" for m in MODELS)
            out.append(f"| {gpu} GB | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def line(step, shape, setting):
    """Every phase of one setting, its peak, and the smallest of GPU_SIZES that holds it."""
    found = phases(step, shape, setting)
    most = max(found.values())
    size = next((f"{g} GB" for g in GPU_SIZES if most <= g * GIB * FILL), f"more than {GPU_SIZES[-1]} GB")
    parts = ", ".join(f"{name} {value / GIB:.1f}" for name, value in found.items())
    peak_gib = f"peak {most / GIB:.1f} GiB on each GPU"
    return f"step {step}, {shape.params / 1e9:.2f}B parameters: {parts}; {peak_gib}, fits {size}"


def main(argv=None):
    parser = Parser(description="GPU memory of the three steps, computed. Without flags: the README's tables.")
    add(parser, ModelFlags)
    add(parser, Setting)
    namespace = parser.parse_args(argv)
    model, setting = read(namespace, ModelFlags), read(namespace, Setting)
    check_positive({name: getattr(setting, name) for name in ("gpus", "batch", "seq_len")}, parser)
    for name, value in {**vars(model), "lora_dim": setting.lora_dim}.items():
        if value < 0:
            parser.error(f"--{name} {value}: must not be below 0")
    if setting.offload and not setting.zero_stage:
        parser.error("--offload needs ZeRO: set --zero_stage to 1, 2 or 3")
    if not (model.hidden or model.layers or model.params):
        print(tables(), end="")
        return
    if not (model.hidden and model.layers):
        parser.error("one line needs the shape: give both --hidden and --layers")
    params = model.params or neox_params(model.hidden, model.layers, model.vocab)
    print(line(model.step, Shape("given", params, model.hidden, model.layers, model.vocab), setting))


if __name__ == "__main__":
    main()
