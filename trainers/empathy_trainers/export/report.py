"""What a verification found, as frozen records that go into the run's JSON and the model card.

No text of a corpus is in here: prompts are numbers, tokenizer probes are named.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field


class Record(BaseModel):
    """Base of the records: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(Record):
    """The first token of a prompt at which llama.cpp and transformers part."""

    prompt: int
    """Index of the prompt."""
    position: int
    """Index among the new tokens."""
    expected: int
    """Id that transformers chooses."""
    got: int
    """Id that llama.cpp chooses."""
    top_two_gap: float
    """Logit of transformers' best token minus that of its second."""
    chosen_gap: float
    """Logit of transformers' best token minus that of llama.cpp's choice."""


class Perplexity(Record):
    """Both libraries on the same held-out ids."""

    tokens: int
    """Tokens predicted."""
    transformers: float
    llama_cpp: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def relative_change(self) -> float:
        """Return by which share llama.cpp's is higher (0.01 = one percent)."""
        return self.llama_cpp / self.transformers - 1.0


class VerifyReport(Record):
    """A GGUF against the folder that it was made from."""

    file: str
    quantization: str
    cache: str
    """Type of the key/value cache in the comparison."""
    prompts: int
    new_tokens: int
    """New tokens of each prompt."""
    differences: tuple[Difference, ...]
    """The first difference of each prompt that has one."""
    close_call: float
    """Largest `chosen_gap` that counts as a close call, in logits."""
    largest_logit_error: float
    """Largest absolute difference of a logit, over all positions up to the first difference."""
    median_top_two_gap: float
    """Median of transformers' top-two gap over the same positions: what is not close."""
    perplexity: Perplexity | None
    tokenizer_texts: int
    tokenizer_mismatches: tuple[str, ...]
    """Names of the probe texts that both libraries cut differently."""
    forged_controls: tuple[str, ...]
    """Names of the probe texts that yielded a CONTROL token with specials off."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def identical_prompts(self) -> int:
        """Return how many prompts have no difference."""
        return self.prompts - len(self.differences)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_ok(self) -> bool:
        """Return whether the file may ship.

        f32: no difference at all. Others: every first difference is a close call. In any case both
        tokenizers agree and no text forges a control token.
        """
        if self.tokenizer_mismatches or self.forged_controls:
            return False
        if self.quantization == "f32":
            return not self.differences
        return all(one.chosen_gap <= self.close_call for one in self.differences)
