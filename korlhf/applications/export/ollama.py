"""The Modelfile of Ollama: a Go template that writes a conversation as ours do, what ends an answer, how it is sampled.

Ollama reads no Jinja. It knows the templates of well-known models by what the GGUF file says of them; ours it does not
know, so they are written here once more, as https://docs.ollama.com/modelfile and https://pkg.go.dev/text/template
define it. Left out: KULLM's context (`input`), for which Ollama's messages have no place."""

from korlhf.data.chat_template import template_name

# A turn's end before the next one; `after`: the turn before was an answer. Everything stands on one line: line breaks
# in Go's templates are text.
_GO = (
    "{{ if .System }}{{ .System }}{{ BREAK }}{{ elseDEFAULT }}{{ end }}{{ $after := false }}{{ range .Messages }}"
    '{{ if eq .Role "user" }}{{ if $after }}{{ BREAK }}{{ end }}{{ "USER" }}{{ .Content }}{{ "CUE" }}'
    "{{ $after = false }}"
    '{{ else if eq .Role "assistant" }}{{ .Content }}{{ "EOS" }}{{ $after = true }}{{ end }}{{ end }}'
)
_DEFAULT = "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요."
PARTS = {  # what is said without a system message, before the user's text, before the answer
    "kullm": (rf"{_DEFAULT}\n\n", r"### 명령어:\n", r"\n\n### 응답:\n"),
    "human_assistant": ("", "Human: ", r"\n\nAssistant:\n"),
}


def go_template(name, eos_token):
    """The Go template of one of our templates. BOS is Ollama's to add, as the GGUF file says."""
    default, user, cue = PARTS[name]
    text = _GO.replace("{{ elseDEFAULT }}", f'{{{{ else }}}}{{{{ "{default}" }}}}' if default else "")
    text = text.replace("BREAK", r'"\n\n"').replace("USER", user).replace("CUE", cue)
    return text.replace("EOS", eos_token)


def modelfile(gguf, chat_template, eos_token, positions, licence):
    """The text of a Modelfile. gguf: name of the file next to it; positions: most tokens, or None; licence: a text or
    "". Of a template that is not ours there is no TEMPLATE: Ollama recognises well-known ones by itself."""
    name = template_name(chat_template)
    lines = [f"FROM ./{gguf}"]
    if name:
        lines.append(f'TEMPLATE """{go_template(name, eos_token)}"""')
    lines.append(f'PARAMETER stop "{eos_token}"')
    # Ollama's own defaults would cut and punish: an answer is sampled from the model as it is, as in training.
    lines += ["PARAMETER temperature 1", "PARAMETER top_p 1", "PARAMETER top_k 0", "PARAMETER repeat_penalty 1"]
    if positions:
        lines.append(f"PARAMETER num_ctx {positions}")
    if licence:
        lines.append('LICENSE """' + licence.replace('"""', "'''") + '"""')
    return "\n".join(lines) + "\n"
