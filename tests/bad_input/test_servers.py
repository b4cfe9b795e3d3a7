"""Servers that are not there, or will not work: one line that names the address and the remedy."""

import pytest
from openai_server import NO_JSON, Server, error

ASKING = ["respond", "score", "translate", "self_instruct", "evol_instruct", "geval", "win_rate", "harmlessness"]
ASKING += ["diversity", "chat_benchmark"]
REFUSALS = {
    "a wrong key": (error(401, "Incorrect API key provided: sk-geheim"), ["refused (401", "OPENAI_API_KEY"]),
    "no right": (error(403, "not for you"), ["refused (403", "OPENAI_API_KEY"]),
    "no model": (error(404, "The model `m` does not exist"), ["refused (404", "no model", "/models lists"]),
    "no credit": (error(402, "Insufficient credits"), ["refused (402", "no credit left"]),
    "no quota": (error(429, "over", "insufficient_quota", "insufficient_quota"), ["refused (429", "no credit left"]),
}


@pytest.mark.parametrize("program", ASKING)
@pytest.mark.parametrize("how", REFUSALS)
def test_a_server_that_refuses(refused, program, how):
    fault, says = REFUSALS[how]
    with Server(faults=lambda number, body: fault, models="mnj") as server:
        refused(program, ["--base_url", server.url], {}, [f"--base_url {server.url}", *says])


@pytest.mark.parametrize("program", ASKING)
def test_nobody_listens(refused, program):
    refused(program, "", {}, ["--base_url http://127.0.0.1:9/v1: no connection", "start the server"])


@pytest.mark.parametrize("program", ASKING)
def test_an_address_with_a_password(refused, program):
    says = ["--base_url http://***@127.0.0.1:9/v1", "--api_key_env"]
    refused(program, "--base_url http://user:geheim@127.0.0.1:9/v1", {}, says)


@pytest.mark.parametrize("program", ASKING)
def test_no_key_for_openai(refused, program):
    refused(program, "--base_url https://api.openai.com/v1", {}, ["--api_key_env OPENAI_API_KEY", "not set", "export"])


@pytest.mark.parametrize("program", ["score", "geval", "win_rate"])
def test_a_judge_whose_context_is_too_short(refused, program):
    def too_long(number, body):
        wide = "response_format" in body or body.get("logprobs")
        return error(400, "This model's maximum context length is 16 tokens") if wide else None

    with Server(faults=too_long, models="mnj") as server:
        refused(program, ["--base_url", server.url], {}, [f"--base_url {server.url}: too long", "longer context"])


@pytest.mark.parametrize("fault", [NO_JSON, error(500, "down")], ids=["html", "500"])
def test_a_server_without_a_usable_answer(refused, fault, tmp_path):
    """What failed is written with its reason, and the exit code says so."""
    with Server(faults=lambda number, body: fault, models="mnj") as server:
        more = ["--base_url", server.url, "--num_answers", "1"]
        refused("respond", more, {}, ["6 of 6 failed", "--max_failed 0.05", "start the same command again"], code=3)
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert len((tmp_path / "out.failed.jsonl").read_text().splitlines()) == 6
