"""The page on which a person goes through labels that may be wrong.

    text = render(result, dataset="files:reviews.csv")      # of trainer.audit
    write(result, "review.html", dataset="files:reviews.csv")

One HTML file that needs no network: a text at a time, a key for each verdict (keep the
label, take the suggestion, another label, drop the row, skip). The verdicts stay in the
browser (localStorage) and are downloaded as the file that `--corrections` reads; its
format is in `data/corrections.py`. Nothing is sent anywhere.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any, Mapping

import markupsafe

from trainer import storage, templates

_FIELDS = ("file", "line", "split", "digest", "label", "suggested", "score", "text")


def render(result: Mapping[str, Any], *, dataset: str) -> str:
    """The page.

    Args:
      result: of the audit: `suspect_labels`, `label_names`, `label_noise`.
      dataset: what was audited, for the heading.
    """
    suspects = _of_each_text(result)
    keys = [f"{each['digest']} {each['label']}" for each in suspects]
    name = hashlib.sha256("\n".join([dataset, *keys]).encode()).hexdigest()[:16]
    data = {
        # Another list is another review.
        "key": f"review {name}",
        "labels": list(result["label_names"]),
        "suspects": suspects,
    }
    environment = templates.environment(pathlib.Path(__file__).parent, autoescape=True)
    template = environment.get_template("review_page.html.jinja")
    return template.render(
        dataset=dataset, noise=result["label_noise"], data=_for_script(data)
    )


def write(result: Mapping[str, Any], path: str, *, dataset: str) -> None:
    """Writes the page."""
    place = storage.path(path)
    storage.remove_leftovers(place.parent, of=place.name)
    storage.write_text(place, render(result, dataset=dataset))


def _of_each_text(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One suspect a text and label: a correction is of all its copies."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for suspect in result["suspect_labels"]:
        key = suspect["digest"], suspect["label"]
        known = found.setdefault(
            key, {**{name: suspect[name] for name in _FIELDS}, "num_rows": 0}
        )
        known["num_rows"] += 1
    return list(found.values())


def _for_script(data: Mapping[str, Any]) -> markupsafe.Markup:
    """JSON that cannot end the script element it stands in, whatever texts hold."""
    text = json.dumps(data)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return markupsafe.Markup(text)
