"""The reasons for which a gate fails: each with a stable id, its exit code, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NO", "RULES", "UNSURE", "YES", "Problem", "Rule", "worst"]

YES, NO, UNSURE = 0, 1, 3
"""Exit codes of an answer; of several the last in this order wins."""


@dataclass(frozen=True)
class Rule:
    """A kind of reason for which a gate fails.

    Attributes:
        id: Stable, for programs: ``NNW001``.
        name: One word in mixed case, as SARIF has it.
        code: 1 where the answer is no, 3 where nobody could look.
        sentence: What it means.
        advice: What to do.
    """

    id: str
    name: str
    code: int
    sentence: str
    advice: str


_ALL = (
    Rule("NNW001", "NotTraced", NO, "The network does not come from any network that was named.",
         "Release the network that was approved, or enrol this one and add its record."),
    Rule("NNW002", "NotIdentical", NO, "The network is not the very one that was enrolled.",
         "Release the file that was enrolled, or require traced and name the findings that are allowed."),
    Rule("NNW003", "Inconclusive", UNSURE, "Too little could be read to say whether the network comes from there.",
         "onnxnnw inspect lists what is not understood; verify the file before it was compiled or packed for a device."),
    Rule("NNW004", "UnreadableNetwork", UNSURE, "The network could not be examined.",
         "The message says what is wrong with the file; fetch or export it again."),
    Rule("NNW005", "UnreadableRecord", UNSURE, "A record could not be read, and it might have met the gate.",
         "Put the record back in place, or take its name out."),
    Rule("NNW006", "TooLittleExplained", NO, "Too much of what is stored is not what was enrolled.",
         "The finding added names the weights that are others; enrol the network with them, or lower min-explained."),
    Rule("NNW007", "FindingNotAllowed", NO, "Something happened to the network that the policy does not allow.",
         "Undo it, or add the finding's id to allow if it is what your pipeline does."),
    Rule("NNW008", "FindingForbidden", NO, "Something happened to the network that the policy forbids.",
         "Undo it; forbid wins over allow."),
    Rule("NNW009", "OneOfOurs", NO, "The network comes from one of those that it must not come from.",
         "Do not release it here."),
    Rule("NNW010", "PolicyExpired", UNSURE, "The policy no longer vouches for anything.",
         "Review the policy and give it a new date."),
    Rule("NNW011", "FileMissing", UNSURE, "A file that the policy names is not there.",
         "Build or fetch the file, or take its name out of the policy."),
    Rule("NNW012", "OtherContent", NO, "A file is not the one whose digest the policy names.",
         "Restore the file, or review the new one and give its SHA-256."),
    Rule("NNW013", "NotInPolicy", NO, "No entry of the policy says what this network must be.",
         'Add an entry for it, or say others = "ignore".'),
    Rule("NNW014", "NotSigned", NO, "The network does not carry a signature of a signer who was named.",
         "Sign it with onnxnnw sign, or add the signer's public key."),
    Rule("NNW015", "AttestationUnusable", UNSURE, "An attestation could not be read, and it might have been the missing link.",
         "Put the attestation back in place, or take its name out."),
    Rule("NNW016", "OtherParent", NO, "The record was not made of the network that was named as its parent.",
         "Name the network that was enrolled, or enrol the one that is named."),
    Rule("NNW017", "UnreadableRegistry", UNSURE, "The registry of records could not be searched.",
         "The message says what is wrong; registry check looks at all of it."),
    Rule("NNW018", "RecordRevoked", NO, "The record that matches was revoked.",
         "registry list --revoked says when and why; enrol the network anew, and add that record."),
    Rule("NNW019", "NotTimestamped", UNSURE, "No timestamp that can be trusted says by when the record existed.",
         "Have the log that holds its commitment timestamped (registry stamp), or bring proof and timestamp."),
    Rule("NNW020", "CommittedTooLate", NO, "The record's earliest timestamp is not before the date that was asked for.",
         "Bring an earlier timestamp, or a record that was committed to in time."),
    Rule("NNW021", "AddressUnreachable", UNSURE, "The server behind an address does not hand the file out as it should.",
         "The message says what the server answered; check address, credentials and --max-download, or fetch the file."),
)  # fmt: skip

RULES: Mapping[str, Rule] = {rule.name: rule for rule in _ALL}
"""By name, in the order of their ids."""


@dataclass(frozen=True)
class Problem:
    """One reason for which this gate fails, with its sentence.

    Attributes:
        rule: Its kind.
        sentence: What was found, in one line.
        weights: Names of the weights that it concerns, where that is known.
    """

    rule: Rule
    sentence: str
    weights: tuple[str, ...] = ()


def worst(codes: "list[int] | tuple[int, ...]") -> int:
    """The code of several answers together: 3 wins over 1 wins over 0."""
    return max(codes, default=YES)
