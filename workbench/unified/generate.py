"""Generation: words, pictures scale by scale, clips frame by frame, sounds step by step; whole or as a stream.

Letters: N prompts, C channels, H and W pixels, F frames, T steps, A levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.unified.batch import make_batch, to_device
from workbench.unified.experts import Reduction
from workbench.unified.layout import MADE, MODE_AUDIO, MODE_IMAGE, MODE_VIDEO, drawn_template
from workbench.unified.model import UnifiedForCausalLM
from workbench.unified.pyramid import cells, from_bits, shrink
from workbench.unified.sampling import Sampling, choose, choose_bits, guided
from workbench.unified.segments import (
    AUDIO,
    BLANK,
    BOA,
    BOI,
    BOV,
    EOS,
    IMAGE,
    VIDEO,
    Sample,
    Segment,
    Text,
    UnifiedError,
)
from workbench.unified.session import Session

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers


@dataclass(frozen=True, eq=False)
class Step:
    """What a stream gives after each group of tokens.

    Attributes:
        kind: "token", "scale" or "sound".
        frame, scale: of a picture or clip.
        pixels: uint8 [N, C, H, W], the frame with the scales so far.
        codes: int16 [N, A], the step of sound; -1 for rows that have ended.
        texts: the texts so far.
    """

    kind: str
    frame: int = 0
    scale: int = 0
    pixels: np.ndarray | None = None
    codes: np.ndarray | None = None
    texts: tuple[str, ...] = ()


class Generator:
    """Runs a unified model and its tokenizers.

    Args:
        model: is put into evaluation mode.
        tokenizers: of the same checkpoint.
        reduction: a smaller model to run, None for the full one.
        rows: prompts that are run together.
    """

    def __init__(
        self,
        model: UnifiedForCausalLM,
        tokenizers: Tokenizers,
        reduction: Reduction | None = None,
        rows: int = 64,
    ) -> None:
        self.model, self.tokenizers, self.reduction, self.rows = model.eval(), tokenizers, reduction, rows
        self.config = model.config

    # ------------------------------------------------------------------ whole results
    def answer(
        self, prompts: Sequence[Sequence[Segment]], *, max_tokens: int = 32, settings: Sampling | None = None
    ) -> list[str]:
        """Texts that follow prompts of any modality.

        Args:
            prompts: segments in order, each row by itself.
            max_tokens: bound of a text.
            settings: greedy by default.

        Raises:
            UnifiedError: an empty prompt, or one of the wrong shape.
        """
        settings = settings or Sampling(greedy=True)
        texts: list[str] = []
        for start in range(0, len(prompts), self.rows):
            last: tuple[str, ...] = ()
            for step in self.stream_text(prompts[start : start + self.rows], max_tokens=max_tokens, settings=settings):
                last = step.texts
            texts += last
        return texts

    def draw(self, prompts: Sequence[str], *, settings: Sampling | None = None) -> np.ndarray:
        """Pictures of words, uint8 [N, C, H, W]."""
        return self._drawn(prompts, None, settings)[:, 0]

    def draw_clip(self, prompts: Sequence[str], *, frames: int, settings: Sampling | None = None) -> np.ndarray:
        """Clips of captions, uint8 [N, F, C, H, W]."""
        if frames < 1:
            raise UnifiedError(f"Expected at least one frame, got {frames}: ask for more.")
        return self._drawn(prompts, frames, settings)

    def speak(
        self, prompts: Sequence[str], *, max_steps: int = 40, settings: Sampling | None = None
    ) -> list[np.ndarray]:
        """Codes of spoken words, a prompt int16 [T, A]; ``tokenizers.audio.decode`` makes sound of them."""
        settings = settings or Sampling()
        found: list[np.ndarray] = []
        for number, start in enumerate(range(0, len(prompts), self.rows)):
            part = prompts[start : start + self.rows]
            steps = [
                step.codes
                for step in self.stream_speech(part, max_steps=max_steps, settings=_moved(settings, number))
                if step.codes is not None
            ]
            for row in range(len(part)):
                mine = np.array([codes[row] for codes in steps if codes[row, 0] >= 0], np.int16)
                found.append(mine.reshape(-1, self.config.audio_levels))
        return found

    @torch.no_grad()
    def score(self, samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
        """How surprising the learned text of samples is.

        Returns:
            Summed nats float64 [N] and tokens int64 [N]; the end of a text counts as a token.
        """
        nats, tokens = np.zeros(len(samples)), np.zeros(len(samples), np.int64)
        for start in range(0, len(samples), self.rows):
            part = samples[start : start + self.rows]
            batch = to_device(make_batch(part, self.config, self.tokenizers), self.model.device)
            losses = self.model(**batch, use_cache=False, reduction=self.reduction).losses
            counted = batch["labels"] >= 0
            nats[start : start + len(part)] = (losses.token * counted).sum(1).double().cpu().numpy()
            tokens[start : start + len(part)] = counted.sum(1).cpu().numpy()
        return nats, tokens

    # ------------------------------------------------------------------ streams
    def stream_text(
        self, prompts: Sequence[Sequence[Segment]], *, max_tokens: int = 32, settings: Sampling | None = None
    ) -> Iterator[Step]:
        """The texts after each token; ends when every row has ended."""
        settings = settings or Sampling(greedy=True)
        session = self._session([Sample(tuple(prompt), "prompt", end=False) for prompt in prompts])
        chance = self._chance(settings)
        written: list[list[int]] = [[] for _ in prompts]
        open_rows = np.ones(len(prompts), bool)
        logits = session.text_logits
        for number in range(max_tokens):
            tokens = choose(logits, settings, chance)
            for row, token in enumerate(tokens.tolist()):
                if token == EOS:
                    open_rows[row] = False
                elif open_rows[row]:
                    written[row].append(token)
            yield Step("token", texts=tuple(self.tokenizers.text.decode(ids) for ids in written))
            if not open_rows.any() or number + 1 == max_tokens:
                return
            out = session.text(tokens)
            assert out.logits is not None
            logits = out.logits[:, -1]

    def stream_picture(
        self, prompts: Sequence[str], *, frames: int | None = None, settings: Sampling | None = None
    ) -> Iterator[Step]:
        """Pictures (frames None) or clips after each scale of each frame, decoded as far as they are."""
        totals: list[Tensor] = []
        for frame, scale, total in self._scales(prompts, frames, settings or Sampling()):
            totals = [*totals[:frame], total]
            latent = torch.stack(totals, 1)
            pixels = self._pixels(latent, frames is not None)[:, -1]
            yield Step("scale", frame, scale, pixels)

    def stream_speech(
        self, prompts: Sequence[str], *, max_steps: int = 40, settings: Sampling | None = None
    ) -> Iterator[Step]:
        """Codes step by step; ends when every row has ended."""
        settings = settings or Sampling()
        session = self._prompted(prompts, settings)
        chance = self._chance(settings)
        end, rows = self.config.audio_codebook, len(prompts)
        ended = torch.zeros(rows, dtype=torch.bool, device=self.model.device)
        tokens, codes = self._all(session, BOA), None
        for _ in range(max_steps):
            chosen: list[Tensor] = []

            def choice(level: int, logits: Tensor, chosen: list[Tensor] = chosen) -> Tensor:
                wanted = guided(logits, settings.guidance) if len(logits) > rows else logits
                if level:  # the first level alone says whether the sound ends
                    wanted = wanted[:, :end]
                found = choose(wanted, settings, chance)
                if level:
                    found = torch.where(chosen[0] == end, end, found)
                chosen.append(found)
                return found.repeat(len(logits) // rows)

            out = session.text(tokens, modality=MODE_AUDIO, role=MADE, codes=codes, choice=choice)
            assert out.audio_logits is not None
            choice(self.config.audio_levels - 1, out.audio_logits[:, -1])
            step = torch.stack(chosen, 1)
            ended = ended | (step[:, 0] == end)
            step = step.masked_fill(ended[:, None], -1)
            if bool(ended.all()):
                return
            yield Step("sound", codes=step.to(torch.int16).cpu().numpy())
            # Ended rows are fed a code of no meaning; nothing reads what they say.
            codes = step.clamp_min(0).repeat(session.rows // rows, 1)
            tokens = self._all(session, AUDIO)

    # ------------------------------------------------------------------ parts
    def _drawn(self, prompts: Sequence[str], frames: int | None, settings: Sampling | None) -> np.ndarray:
        settings = settings or Sampling()
        parts = []
        for number, start in enumerate(range(0, len(prompts), self.rows)):
            totals: list[Tensor] = []
            for frame, _, total in self._scales(prompts[start : start + self.rows], frames, _moved(settings, number)):
                totals = [*totals[:frame], total]
            parts.append(self._pixels(torch.stack(totals, 1), frames is not None))
        if not parts:
            raise UnifiedError("Expected at least one prompt, got none: write what is to be drawn.")
        return np.concatenate(parts)

    def _scales(
        self, prompts: Sequence[str], frames: int | None, settings: Sampling
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Frame, scale and the sum so far [N, Z, M, M], group of tokens by group of tokens."""
        session = self._prompted(prompts, settings)
        chance = self._chance(settings)
        video, scales, rows = frames is not None, self.config.image_scales, len(prompts)
        mode, token, begin = (MODE_VIDEO, VIDEO, BOV) if video else (MODE_IMAGE, IMAGE, BOI)
        amplitudes = self.tokenizers.image.amplitudes.to(self.model.device)
        places, columns = drawn_template(frames or 1, tuple(scales), video)
        out = session.text(self._all(session, begin), modality=mode, role=MADE, scale=0, frame=0 if video else -1)
        at = 0
        first_block = 0  # blocks of the template already fed
        finished: Tensor | None = None  # the frame before
        for frame in range(frames or 1):
            bits: list[Tensor] = []
            total = None
            for k in range(len(scales)):
                if k:
                    n = scales[k] ** 2
                    assert total is not None
                    inputs, before = (
                        None if one is None else cells(shrink(one, scales[k])).repeat(session.rows // rows, 1, 1)
                        for one in (total, finished)
                    )
                    part = columns[at : at + n].copy()
                    part[:, 0] -= first_block
                    out = session.feed(
                        self._all(session, token)[:, None].expand(-1, n),
                        places[at : at + n],
                        part,
                        visual=inputs,
                        before=before,
                    )
                    at, first_block = at + n, first_block + 1
                    logits = out.bit_logits
                else:
                    logits = None if out.bit_logits is None else out.bit_logits[:, -1:]
                assert logits is not None
                wanted = guided(logits, settings.guidance) if len(logits) > rows else logits
                bits.append(choose_bits(wanted, settings, chance))
                total = from_bits(bits, scales, amplitudes)
                yield frame, k, total
            assert total is not None
            if self.config.previous_frame:
                finished = total
            if frame + 1 < (frames or 1):
                part = columns[at : at + 1].copy()
                part[:, 0] -= first_block
                flat = total.flatten(1).repeat(session.rows // rows, 1)
                out = session.feed(self._all(session, token)[:, None], places[at : at + 1], part, whole=flat)
                at, first_block = at + 1, first_block + 1

    def _prompted(self, prompts: Sequence[str], settings: Sampling) -> Session:
        """Words fed; under guidance, as many blank prompts behind them."""
        samples = []
        for prompt in prompts:
            ids = tuple(self.tokenizers.text.encode(prompt))
            if not ids:
                raise UnifiedError("Expected words that say what is to be made, got an empty prompt: write some.")
            samples.append(Sample((Text(ids),), "prompt", end=False))
        if settings.guidance != 1:
            samples += [Sample((Text((BLANK,)),), "prompt", end=False)] * len(prompts)
        return self._session(samples)

    def _session(self, samples: Sequence[Sample]) -> Session:
        return Session(self.model, self.tokenizers, samples, self.reduction)

    def _pixels(self, latent: Tensor, video: bool) -> np.ndarray:
        image = self.tokenizers.image
        latent = latent.float().cpu()
        pixels = image.decode_video(latent) if video else image.decode(latent[:, 0])[:, None]
        found: np.ndarray = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return found

    def _chance(self, settings: Sampling) -> torch.Generator:
        return torch.Generator(self.model.device).manual_seed(settings.seed)

    def _all(self, session: Session, token: int) -> Tensor:
        return torch.full((session.rows,), token, device=self.model.device)


def _moved(settings: Sampling, number: int) -> Sampling:
    """The same settings with a seed of its own for each part of the prompts."""
    from dataclasses import replace

    return settings if number == 0 else replace(settings, seed=settings.seed + 1_000_003 * number)
