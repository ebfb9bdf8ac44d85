"""What a comparison of heads hands to the page, judged on made logits; drawings; a browser to open the page in."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rebalance import evaluate
from rebalance.classes import Shots
from rebalance.report.drawing import Drawing
from rebalance.report.style import Style

CLASSES = 30
COUNTS = np.round(400 * 0.8 ** np.arange(CLASSES)).astype(np.int64)
EMPTY_CLASS = 28  # it has no row in the split
METHODS = (
    ("joint", 0.0),
    ("crt", 1.0),
    ("tau_norm", 0.9),
    ("lws", 0.8),
    ("ncm", 1.1),
    ("logit_adjust", 1.05),
    ("balanced_softmax", 0.95),
    ("label_aware_smoothing", 0.7),
    ("over_smoothing", 0.5),
    ("lda", 0.6),
    ("crt + temperature", 1.0),
)


def judge() -> dict[str, Any]:
    """The payload of 11 heads on 30 classes, one more that failed; head after head moves away from the prior."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 8)
    noise = rng.normal(size=(len(labels), CLASSES))
    labels[labels == EMPTY_CLASS] = -1
    prior = np.log(COUNTS / COUNTS.sum())
    reports = {}
    for name, tau in METHODS:
        own = 0.3 * rng.normal(size=noise.shape)
        logits = noise + own + 2.4 * np.eye(CLASSES)[labels] + (1 - tau) * 0.5 * prior
        reports[name] = evaluate(logits, labels, COUNTS, shots=Shots(), replicates=40, seed=3)
    heads = []
    for name, report in reports.items():
        joint = None if name == "joint" else reports["joint"]
        test = None if joint is None else report.mcnemar(joint)
        differences = {} if joint is None else report.difference(joint)
        heads.append(
            {
                "name": name,
                **report.to_dict(),
                "difference": {k: {"value": d.value, "low": d.low, "high": d.high} for k, d in differences.items()}
                or None,
                "mcnemar": test and {"only_head": test.only_self, "only_other": test.only_other, "p": test.p},
                "marks": ["tuned on test"] if name == "lws" else [],
                "record": {
                    "method": name.split(" + ")[-1],
                    "hyperparameters": {"tau": 0.5151619954190064, "bias": "drop"},
                    "fitted_on": "train",
                    "tuned_on": "val",
                    "tuned": {"parameters": {"tau": 0.5151619954190064}, "interval": [-0.41, 1.03], "rows": 1489},
                    "class_names": [f"class {k}" for k in range(CLASSES)],
                },
                "file": None if name == "joint" else f"photos.heads/{name}.safetensors",
            }
        )
    heads.sort(key=lambda head: -head["balanced"])
    return {
        "cache": "/data/photos.cache",
        "split": "test",
        "rows": len(labels),
        "shots": {"few": 20, "many": 100, "closed": False},
        "rule": Shots().rule,
        "target_prior": None,
        "costs": None,
        "replicates": 40,
        "seed": 3,
        "notes": list(reports["joint"].notes),
        "heads": heads,
        "failed": [{"name": "vs_loss", "why": "RuntimeError: the solver met a singular matrix"}],
        "chosen": "crt + temperature",
        "chosen_on": "val",
        "chosen_by": "balanced",
        "goal": "balanced",
        "against": "joint",
        "validation": {head["name"]: head["balanced"] + 0.01 for head in heads},
        "classes": {
            "names": [f"{('warbler', 'finch', 'tern', 'owl', 'heron')[k % 5]} {k}" for k in range(CLASSES)],
            "counts": COUNTS.tolist(),
            "rows": reports["joint"].class_rows.tolist(),
        },
        "provenance": {
            "cache": "938145ff21e0f7bdee6b9ce7aea883d05d99ae5292df54729b76e18075cb3405",
            "joint": {"method": "joint", "class_names": None},
            "layer": "classifier",
            "versions": {"featurecache-rebalance": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6"},
            "options": {"methods": "joint,ncm,crt", "select": "1se", "metric": "balanced", "split": "test"},
            "seed": 3,
            "created_with": {"device": "cpu", "threads": 2, "versions": {"torch": "2.13.0+cpu"}},
        },
    }


@pytest.fixture(scope="session")
def judged() -> dict[str, Any]:
    """The payload that no test may change."""
    return judge()


@pytest.fixture
def payload(judged: dict[str, Any]) -> dict[str, Any]:
    """A payload of one's own."""
    return copy.deepcopy(judged)


def widened(payload: dict[str, Any], classes: int) -> dict[str, Any]:
    """The payload with its classes repeated until there are so many."""
    wide = copy.deepcopy(payload)

    def repeat(values: list[Any]) -> list[Any]:
        return [values[k % len(values)] for k in range(classes)]

    for head in wide["heads"]:
        for key in ("recall", "recall_interval", "precision", "f1", "class_rows", "class_predictions"):
            head[key] = repeat(head[key])
    named = wide["classes"]
    wide["classes"] = {
        "names": [f"Genus species {k}" for k in range(classes)],
        "counts": repeat(named["counts"]),
        "rows": repeat(named["rows"]),
    }
    return wide


@pytest.fixture(scope="session")
def widen() -> Callable[[dict[str, Any], int], dict[str, Any]]:
    return widened


def drawing(name: str, size: tuple[float, float]) -> Drawing:
    def paint(figure: Figure, style: Style) -> None:
        figure.subplots().plot([0, 1, 2], [0.2, 0.5, 0.4], marker="o", label="crt")

    return Drawing(name, f"The {name}", f"What the {name} shows.", ["x", "y"], [[0, 0.2]], paint, size)


@pytest.fixture(scope="session")
def drawings() -> list[Drawing]:
    """A wide figure and one that is not."""
    return [drawing("recall", (11, 4)), drawing("reliability", (6, 4))]


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "javascript:alert(5)",
    "{{ 7 * 7 }}{% raw %}",
    "</style><svg onload=alert(6)>",
    "<!-- --!> <b>bold</b> &amp; &lt;i&gt;",
    "\u202egnp.exe\x00\x1b[31m\ud800",
    "]]><iframe srcdoc='<script>parent.alert(7)</script>'></iframe>",
    "𝔘𝔫𝔦 👩‍👩‍👧 هدهد",
    "</title><base href='https://example.invalid/'><meta http-equiv=refresh content='0;url=javascript:alert(8)'>",
)


def poisoned(value: Any, place: list[int]) -> Any:
    """The value with every text in it made hostile, keys that the page does not know by name included."""
    if isinstance(value, str):
        place[0] += 1
        return HOSTILE[place[0] % len(HOSTILE)] + value
    if isinstance(value, list):
        return [poisoned(item, place) for item in value]
    if isinstance(value, dict):
        return {key: poisoned(item, place) for key, item in value.items()}
    return value


@pytest.fixture
def hostile(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload in which every text and every key of a record or option is hostile."""
    names = {head["name"]: f"{HOSTILE[i % len(HOSTILE)]} {i}" for i, head in enumerate(payload["heads"])}
    names["joint"] = "joint"
    validation = {names[name]: value for name, value in payload["validation"].items()}
    chosen = names[payload["chosen"]]
    for head in payload["heads"]:
        head["record"] |= {text: {text: text} for text in HOSTILE}
        head["marks"], head["notes"] = list(HOSTILE[:3]), list(HOSTILE[3:6])
    payload["provenance"]["options"] |= {text: text for text in HOSTILE}
    payload |= {"notes": list(HOSTILE), "target_prior": "prior", "costs": "costs.csv", "predictions": "out.csv"}
    kept = {head["name"]: head["name"] for head in payload["heads"]}
    bad = poisoned(payload, [0])
    for head, name in zip(bad["heads"], kept, strict=True):
        head["name"] = names[name]
    fixed = {key: payload[key] for key in ("goal", "chosen_by", "against")}  # words of ours
    return bad | fixed | {"validation": validation, "chosen": chosen}


@pytest.fixture(scope="session")
def hostile_texts() -> tuple[str, ...]:
    return HOSTILE


class Acting:
    """A drawing whose texts and whose picture try to act."""

    name, title, caption = "<b>", "<img src=x onerror=alert(1)>", "</figcaption><script>alert(1)</script>"

    def svg(self, dark: bool = False) -> str:
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="9" height="9" onload="alert(1)">'
            '<script>alert(1)</script><image href="http://127.0.0.1:9/x.png"/><rect width="9" height="9"/></svg>'
        )


@pytest.fixture(scope="session")
def acting() -> Acting:
    return Acting()


VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests of this file."""
    found = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found, missing = None, "the Python package playwright is not installed"
    else:
        missing = "no program called chromium (Debian's package chromium)"
    if found is None:
        (pytest.fail if os.environ.get("REBALANCE_NEED_CHROMIUM") else pytest.skip)(missing)
    # As root it has no sandbox to offer.
    unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=unconfined)
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """An open page and what happened on it."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)  # console messages, page errors, dialogs, pop-ups

    def quiet(self) -> None:
        """Fails where the page asked for anything but itself, complained, or broke its policy."""
        assert self.troubles == []
        assert self.requests[0] == self.url
        assert all(url.startswith("data:") for url in self.requests[1:])
        assert self.page.url.split("#")[0] == self.url
        assert self.page.evaluate("window.violations") == []


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """`visit(html, **options)`: the page opened from a file in a context of its own."""
    contexts = []

    def opened(html: str, **options: Any) -> Visit:
        file = tmp_path / f"report-{len(contexts)}.html"
        file.write_text(html, "utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_init_script(VIOLATIONS)
        page = context.new_page()
        visited = Visit(page, file.as_uri())
        page.on("request", lambda request: visited.requests.append(request.url))
        page.on("console", lambda message: visited.troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: visited.troubles.append(f"error: {error}"))
        page.on("popup", lambda popup: visited.troubles.append(f"popup: {popup.url}"))
        page.on("dialog", lambda dialog: (visited.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(visited.url)
        return visited

    yield opened
    for context in contexts:
        context.close()
