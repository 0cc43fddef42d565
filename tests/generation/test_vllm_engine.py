"""The real vLLM engine on a CPU: n samples a request, seeded; the same greedy tokens as transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import candidate
from harness.errors import UserError
from harness.generation import hf, vllm
from harness.generation._types import EngineOptions, Job
from harness.scoring._describe import describe

PROMPTS = [(1, *range(60, 100), last) for last in range(20, 28)]


def _options(folder: Path, temperature: float = 1.0, stop: tuple[int, ...] = (2,)) -> EngineOptions:
    policy = candidate.from_folder(folder, "policy")
    return EngineOptions(policy, describe(policy), "cpu", "float32", temperature, 1.0, stop)


def test_without_vllm_the_user_is_told_what_to_do(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(UserError, match=r"not installed.*--backend hf"):
        vllm.open_engine(_options(policy))


@pytest.mark.vllm
@pytest.mark.filterwarnings("default")
class TestEngine:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("vllm", reason="vllm is not installed: .ci/vllm makes an environment for these tests")

    def test_samples_are_seeded_one_by_one_and_prompts_cached(self, policy: Path) -> None:
        """Alone, together, or in another order: the same samples; sample i of seed s is sample 0 of seed s + i."""
        engine = vllm.open_engine(_options(policy))
        jobs = [Job(str(i), prompt, 4, 1000 * i, 16) for i, prompt in enumerate(PROMPTS)]
        together = {one.example_id: one.samples for one in engine.generate(jobs)}
        assert len({sample for samples in together.values() for sample in samples}) == 4 * len(PROMPTS)
        again = {one.example_id: one.samples for one in engine.generate(jobs[::-1])}
        assert again == together
        (single,) = engine.generate([Job("x", PROMPTS[3], 1, 3002, 16)])
        assert single.samples == together["3"][2:3]
        cache = engine._llm.llm_engine.vllm_config.cache_config
        assert cache.enable_prefix_caching
        engine.close()

    def test_greedy_tokens_are_transformers_own(self, policy: Path) -> None:
        jobs = [Job(str(i), prompt, 1, 0, 24) for i, prompt in enumerate(PROMPTS)]
        found = []
        for module in (vllm, hf):
            engine = module.open_engine(_options(policy, temperature=0.0))
            found.append({one.example_id: one.samples for one in engine.generate(jobs)})
            engine.close()
        assert found[0] == found[1]
