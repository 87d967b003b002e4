"""What is looked at before and beside training: the data, the simplest models."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.config.fields import NO_TERMS, OWN_TERMS, require, require_choices, setting

Audit = Literal["off", "report", "strict"]
AuditModel = Literal["auto", "none", "tfidf"]
_GROUP_TERMS_HELP = (
    "Words by which a text is said to mention a group: `own`, a short English list of "
    "gender, religion, nationality and orientation, and first names; `none`; or "
    '`FILE.json`, {"kind": {"group": ["term", ...]}}, in place of it. A term with a '
    "capital is matched as written, another one in any case. Mentions are counted by "
    "label in the data, and the model is measured on the texts of each group."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """Which looks are taken at the data."""

    audit: Audit = setting(
        "report",
        "`report`: copies within and across splits, contradicting labels and odd "
        "encodings are listed in the report, by file and line; this takes seconds. "
        "`strict`: the same, and the program ends with exit code 2, before anything is "
        "trained, where a text is in two splits, a text has two labels, or a class has "
        "fewer than 10 texts. `off`: neither. Near-duplicates, languages and wrong "
        "labels take seconds to minutes, and are looked for where their flags ask.",
        may_change=True,
    )
    audit_model: AuditModel = setting(
        "auto",
        "Which model looks for wrong labels: `tfidf`, TF-IDF with logistic regression, "
        "trained on four fifths of the texts to judge the other fifth, five times; a "
        "minute for 25,000 reviews, and it needs the extra `audit`; `none`. `auto`: "
        "tfidf in `trainer.audit` where the extra is installed, none in a run.",
        may_change=True,
    )
    out_of_fold: str = setting(
        "",
        "Parquet file with the out-of-fold probabilities of a better model, columns "
        "file, line, label, fold, probabilities, as `--study=folds` writes it: wrong "
        "labels are looked for by these in place of --audit_model. Empty: none.",
        may_change=True,
    )
    languages: tuple[str, ...] = setting(
        (),
        "Languages that the texts should be in, separated by commas, by their codes of "
        "two letters, as `en,de`: texts in others are counted, with examples. Needs the "
        "extra `audit`. Empty: not looked at.",
        may_change=True,
    )
    group_terms: str = setting(OWN_TERMS, _GROUP_TERMS_HELP, may_change=True)

    def __post_init__(self) -> None:
        require_choices(self)
        require(
            self.group_terms in (OWN_TERMS, NO_TERMS)
            or self.group_terms.endswith(".json"),
            "--group_terms must be own, none, or a file that ends with .json",
            received=self.group_terms or "nothing",
        )
        for code in self.languages:
            require(
                len(code) == 2 and code.isascii() and code.islower(),
                "--languages must be codes of two letters, as in --languages=en,de",
                received=",".join(self.languages),
            )
        require(
            not self.out_of_fold or self.audit_model != "tfidf",
            "--out_of_fold takes the place of --audit_model",
            received=f"audit_model={self.audit_model}",
            mend="leave one of the two away",
        )
        require(
            self.audit != "off" or not self.asked_for,
            "--audit=off looks at nothing",
            received=", ".join(self.asked_for),
            mend="set --audit=report",
        )

    @property
    def asked_for(self) -> tuple[str, ...]:
        """The flags that ask for more than the default looks."""
        given = {
            "--audit_model=tfidf": self.audit_model == "tfidf",
            f"--out_of_fold={self.out_of_fold}": bool(self.out_of_fold),
            f"--languages={','.join(self.languages)}": bool(self.languages),
        }
        return tuple(flag for flag, is_given in given.items() if is_given)
