"""The shipped models: loadable, small, encoded as in training, and showing the effect they are there to show."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from harness.demo import data, folders, lessons, measure, world

NAMES = ("base", "rm", "sft", "sft_wrong")


@pytest.fixture(scope="module")
def models():
    folder = folders.models_dir()
    rm = AutoModelForSequenceClassification.from_pretrained(folder / "rm", dtype=torch.float16)
    experts = {n: AutoModelForCausalLM.from_pretrained(folder / n, dtype=torch.float16) for n in measure.EXPERTS}
    return rm, experts


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


class TestTokenizer:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_chat_template_writes_the_training_encoding(self, name):
        tokenizer = AutoTokenizer.from_pretrained(folders.models_dir() / name)
        text = tokenizer.apply_chat_template(chat("calc 3 + 4", "3 + 4 = 7"), tokenize=False)
        assert text == "<bos> calc 3 + 4 : 3 + 4 = 7 ."
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == lessons.encode(("calc", "3", "+", "4"), ("3", "+", "4", "=", "7"))

    def test_every_general_and_domain_text_can_be_spelt(self, tmp_path):
        tokenizer = folders.build_tokenizer()
        folder = data.write_data(tmp_path).folder
        for line in (folder / "rewardbench" / "filtered.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            text = tokenizer.apply_chat_template(chat(row["prompt"], row["chosen"]), tokenize=False)
            assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]

    def test_other_texts_become_unknown_words_and_do_not_fail(self):
        tokenizer = folders.build_tokenizer()
        text = tokenizer.apply_chat_template(chat("Write a function", "def f(x):\n    return x"), tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == lessons.ID["."]
        assert tokenizer.unk_token_id in ids

    def test_the_prompt_alone_ends_where_the_answer_starts(self):
        tokenizer = folders.build_tokenizer()
        turns = chat("calc 3 + 4", "")[:1]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert text == "<bos> calc 3 + 4 :"

    def test_special_tokens_are_four_different_ones(self):
        tokenizer = folders.build_tokenizer()
        ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
        assert ids == (0, 1, 2, 3)


class TestFolders:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_complete_and_about_one_megabyte(self, name):
        folder = folders.models_dir() / name
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = "LlamaForSequenceClassification" if name == "rm" else "LlamaForCausalLM"
        assert config["architectures"] == [kind]
        assert config["vocab_size"] == len(world.VOCABULARY)
        assert (folder / "model.safetensors").stat().st_size < 1.1e6

    def test_the_reward_model_has_one_scalar_head(self, models):
        assert models[0].score.weight.shape == (1, 96)


class TestRewards:
    def test_transformers_own_pooling_agrees_with_the_last_real_token(self):
        rm = AutoModelForSequenceClassification.from_pretrained(folders.models_dir() / "rm", dtype=torch.float32)
        pairs = data.domain_pairs()[:40]
        texts = [lessons.encode(p.question, p.wrong) for p in pairs]
        with torch.no_grad():
            ids = measure.train.pad(texts)
            own = rm(input_ids=ids, attention_mask=(ids != 0).long()).logits.squeeze(-1)
        torch.testing.assert_close(measure.score(rm, texts), own, atol=1e-4, rtol=0)

    def test_lambda_zero_is_the_reward_model_and_one_is_the_experts_body(self, models):
        rm, experts = models
        for weight, parent in ((0.0, rm), (1.0, experts["sft"])):
            body = measure.merged(rm, experts["sft"], weight).model.state_dict()
            assert all(torch.equal(body[name], tensor.float()) for name, tensor in parent.model.state_dict().items())


class TestEffect:
    """The claim of the demo, judged on the first 600 domain pairs and all general ones."""

    @pytest.fixture(scope="class")
    @staticmethod
    def accuracy(models):
        rm, experts = models
        domain, general = data.domain_pairs()[:600], data.general_pairs()

        def of(name: str, weight: float) -> tuple[float, float]:
            model = measure.merged(rm, experts[name], weight)
            return tuple(float(measure.wins(model, pairs).float().mean()) for pairs in (general, domain))

        return of

    def test_the_expert_teaches_the_domain(self, accuracy):
        assert accuracy("sft", 0.4)[1] - accuracy("sft", 0.0)[1] > 0.12

    def test_general_judgement_stays(self, accuracy):
        assert accuracy("sft", 0.4)[0] > accuracy("sft", 0.0)[0] - 0.03

    @pytest.mark.parametrize("control", ["base", "sft_wrong"])
    def test_the_controls_teach_nothing(self, accuracy, control):
        assert accuracy(control, 0.4)[1] - accuracy(control, 0.0)[1] < 0.04


def test_compare_counts_gains_and_losses_and_tests_them():
    before = torch.tensor([False] + [True] * 7 + [True] * 5)
    after = torch.tensor([True] + [False] * 7 + [True] * 5)
    assert measure.compare(before, after) == {"gained": 1, "lost": 7, "p": pytest.approx(0.0703125)}


def test_every_recorded_seed_has_both_controls_and_all_lambdas():
    tables = folders.seed_tables()
    assert [table["seed"] for table in tables] == [0, 1, 2]
    for table in tables:
        assert set(table["experts"]) == set(measure.EXPERTS)
        for curves in table["experts"].values():
            assert all(len(curves[key]) == len(table["lambdas"]) == 11 for key in ("general", "domain"))
