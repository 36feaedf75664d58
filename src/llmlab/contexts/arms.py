"""What is compared: arms, each a context block, a token block on its contexts, and what of it is trained.

Covers the arms of chapter 5 and the ablations of chapter 6 as data.  Leaves out running them: ``running``.
"""

from dataclasses import dataclass, replace

from llmlab.report.result import counted
from llmlab.settings import ContextSettings, EmbeddingFreezeSettings, TwoStageSettings


@dataclass(frozen=True)
class Design:
    """A context block and how it is trained; equal designs have equal contexts.

    ``vectors`` says which embedding it reads: ``pretrained`` or ``random``.  ``wiring``, ``widths`` as in the settings.
    ``stops``: its training is over as soon as nearly every context stays where it is; otherwise it makes every pass.
    """

    layers: int
    wiring: str
    widths: str
    trained: bool
    noise: float
    vectors: str
    tokens: int
    stops: bool = True

    @property
    def name(self) -> str:
        """What its file is called."""
        made = f"noise{self.noise:g}{'' if self.stops else '-every-pass'}" if self.trained else "untrained"
        return f"{self.vectors}-L{self.layers}-{self.wiring}-{self.widths}-{made}-{self.tokens}"


@dataclass(frozen=True)
class Arm:
    """One thing to train: ``name`` ends its metrics and its folder, ``label`` stands in tables."""

    name: str
    label: str
    design: Design
    reading: str = "after"
    tied: bool = True
    learns_embedding: bool = False


FREEZE_LABELS = {
    "frozen": "frozen, tied",
    "trained": "trained, tied",
    "frozen-untied": "frozen, untied",
    "trained-untied": "trained, untied",
    "random-frozen": "random, frozen",
    "random-trained": "random, trained",
}

WIRINGS = (("every", "constant"), ("every", "decreasing"), ("first", "constant"), ("first", "decreasing"))
READING_LABELS = {"after": "after, by layer", "final": "after, last layer", "before": "before", "none": "no context"}


def design_of(settings: ContextSettings, tokens: int = 0, vectors: str = "pretrained") -> Design:
    """Return the context block that the settings name, for a number of tokens (default: theirs)."""
    return Design(
        layers=settings.layers,
        wiring=settings.wiring,
        widths=settings.widths,
        trained=settings.block == "trained",
        noise=settings.noise,
        vectors=vectors,
        tokens=tokens or settings.tokens,
    )


def freeze_arms(settings: EmbeddingFreezeSettings) -> list[Arm]:
    """Return the arms of chapter 5: the grid, then frozen and trained at the other numbers of tokens."""
    arms = []
    for name in settings.arm_names:
        vectors = "random" if name.startswith("random") else "pretrained"
        arms.append(
            Arm(
                name,
                FREEZE_LABELS[name],
                design_of(settings, vectors=vectors),
                settings.reading,
                tied=not name.endswith("untied"),
                learns_embedding="trained" in name,
            )
        )
    first = {arm.name: arm for arm in arms}
    for tokens in settings.sizes:
        if tokens != settings.tokens:
            arms += [grown(first[name], tokens) for name in ("frozen", "trained")]
    return arms


def grown(arm: Arm, tokens: int) -> Arm:
    """Return an arm on another number of tokens."""
    name, label = f"{arm.name}-{tokens}", f"{arm.label}, {tokens:,}"
    return replace(arm, name=name, label=label, design=replace(arm.design, tokens=tokens))


def stage_arms(settings: TwoStageSettings) -> dict[str, list[Arm]]:
    """Return the arms of chapter 6 by ablation; ``main`` holds the settings' own arm.

    An ablation has that arm too wherever one of its values is the settings', but for noise: its blocks make every pass.

    Ablations share arms: an arm is trained once.
    """
    own = Arm("main", "two-stage", design_of(settings, vectors=settings.vectors), settings.reading)
    found = {"main": [own]}
    for name in settings.ablations:
        found[name] = _ablated(name, own, settings)
    return found


def _ablated(name: str, own: Arm, settings: TwoStageSettings) -> list[Arm]:
    """Return one ablation: the main arm with each value of what is changed, itself where the value is its own.

    Without noise contexts soon stay where they are, so noise would also decide how long a block is trained: there every
    block makes every pass.
    """
    base = own.design
    if name == "block":
        values = [("trained block", replace(base, trained=True)), ("untrained block", replace(base, trained=False))]
    elif name == "noise":
        even = replace(base, trained=True, stops=False)
        values = [(f"noise {noise:g}", replace(even, noise=noise)) for noise in settings.swept_noises]
    elif name == "layers":
        values = [(f"{counted(layers, 'layer')}", replace(base, layers=layers)) for layers in settings.swept_depths]
    elif name == "wiring":
        values = [(f"{each}, {widths}", replace(base, wiring=each, widths=widths)) for each, widths in WIRINGS]
    else:
        read = {reading: _one_for_all(reading, own) for reading in READING_LABELS}
        return [
            _renamed(own, _slug(READING_LABELS[read[reading]]), label, base, read[reading])
            for reading, label in READING_LABELS.items()
        ]
    return [_renamed(own, _slug(label), label, design, own.reading) for label, design in values]


def _one_for_all(reading: str, own: Arm) -> str:
    """Return a reading, or the one that is the same for a block whose only layer is its last."""
    alike = ("after", "final")
    if own.design.layers > 1 or reading not in alike:
        return reading
    return own.reading if own.reading in alike else alike[0]


def _renamed(own: Arm, name: str, label: str, design: Design, reading: str) -> Arm:
    same = (design, reading) == (own.design, own.reading)
    return replace(own, name="main" if same else name, label=label, design=design, reading=reading)


def _slug(label: str) -> str:
    return label.replace(",", "").replace(" ", "-")
