"""The reference of the file of `attncli check`, and of what it writes: for people, and for editors as a JSON Schema."""

from __future__ import annotations

from typing import Any

from attncli import registry
from attncli.cli.groups.check import file_section
from attncli.studies.check.rules.sections import AttentionSection, BudgetSection, ClassSection, LimitsSection

RULES = """What attncli check holds against a model: YAML with texts, rules, suites and a baseline.

model: sentence-transformers/all-MiniLM-L6-v2
texts:
  mat: The cat sat on the mat.
rules:
  - name: it looks at the animal
    text: The animal didn't cross the street because it was too tired.
    from: it
    to: animal
    than: street
    min: 0.3
    heads: layer 2-5
    above: permutation 75
  - entropy: {heads: all, max: 3.5}
  - sink < 0.95
  - no head uniform
  - head 0.2 is previous-token
suites:
  - {name: coreference, file: coreference.jsonl, min-rate: 0.8, above: permutation 99}
baseline: {file: baseline.json, absolute: 0.01, relative: 0.05, metrics: {entropy: {absolute: 0.1}}}
tolerance: 0.00001

Model       model, revision, tokenizer, target-tokenizer, model-head, device, dtype, trust-remote-code, capture; how
            texts are read: words, special, max-tokens, batch-tokens. What is typed goes before what the file says
texts       name → text, or {text, pair, target}. Budgets, classes and baselines are of all texts of the file and of
            its rules, unless a rule names one of its own; those of suites are not among them
rules       any of the following, each with name, text (a name of texts, or the text itself) and kind (encoder,
            decoder, cross: where the model has several) where that is wanted

Attention between words
from, to    a word, it#2 for the second of its places, the position of a token, a special token such as [CLS], a
            piece. A word that has several places is refused. From a word of several tokens the mean, to it the sum
min, max    limits of the weight on `to`, which may be reached
than        a word on which the weight must be smaller, by more than the tolerance
above       permutation N: the weight must stand above the Nth percentile of the same measure with the keys permuted,
            in all heads alike. The heads searched count as trials: the measure is the largest weight over all heads
            of the rule (with all, the smallest), in truth and in each permutation. All sets of keys are tried, of
            many 9,999 by one seed. Of n keys the best stands above 100 - 100/n %: where N cannot be reached, the file
            is refused
heads       any (default): one head must keep all of min, max and than. all: each must. 3.1 is layer 3, head 1; layer
            4-8 any head of these layers; all layer 4-8 each; several with commas or as a list; -1 counts from the end

Budgets
MEASURE     {heads, min, max}: every metric of attncli explain, the mean over the texts. heads: all (default), any, …
in a line   MEASURE < NUMBER, also <=, > and >=; sink < 0.9 in layer 2-5; cross entropy < 2; heads that are undefined
            there are left out, and a rule that is undefined in all heads is refused

Classes of heads
is, is-not  vertical, diagonal, local, block, sparse, uniform, mixed (attncli explain vertical, and so on, by the mean
            of their numbers over the texts); previous-token, self, next-token: diagonal at offset -1, 0, +1. With
            heads
in a line   no head uniform; head 0.2 is previous-token; head 0.2 is not sparse; some head of layer 2-5 is vertical;
            every head of layer 0 is local

Suites
file        JSONL, a case a line: {"text", "from", "to", "than", "pair", "target"}. A case is right where the weight
            on `to` is larger than on `than`, and at least min if the suite has one. Cases of one pair count as one,
            right where all of them are: a head that goes by position alone fails pairs that swap it
min-rate    the share that must be right. any: by the best single head over the whole suite, as a head of its own for
            each case would be found by chance. Beside it stands the 95 % interval of Wilson
above       permutation N: more often right than in N % of 1,999 samples with the keys of each case permuted; each
            sample has its own best head

Baseline
file        numbers of every head that attncli check FILE --record wrote; --baseline PATH takes another
absolute    a measure may differ by so much; relative: or by this share of what it was: the larger of both holds
metrics     tolerances of single measures. Of sink_position and diagonal_offset, which say where, only those named
            here
Refused     a baseline of another model, of other texts, or of texts read otherwise. Names of the Hub must be the
            same; where a model is a folder, its class and heads: so a checkpoint can be held against an earlier one

Tolerance
tolerance   from 0 to 0.1, by default 0.00001; above a limit of 1 it is a share of the limit. Weights differ in their
            last digits between processors and numbers of threads. A value within the tolerance of a limit therefore
            counts as equal to it, on every machine: it keeps min, max, >= and <=, and breaks <, > and than
used by     min, max and than of rules and suites; budgets; the thresholds of classes (vertical, diagonal, local and
            block may be reached, sparse and uniform must be passed); above, where permuted keys that give as much up
            to the tolerance count against the rule; the baseline, where it is added to absolute and relative. Heads
            that keep a rule equally well within the tolerance: the first one is shown
Printed     weights and measures are rounded to 6 decimals

Files are found from where the file of rules lies; ${NAME} is a variable of the environment, ${NAME:-else} has a
default; 3.10 is not 3.1, and no is a word. Unknown keys, tags, anchors and files of more than 256 kB are refused.
attncli explain rules --json prints the schema for editors, attncli explain check.json says what is written."""

CHECK = """What became of rules, written by check: schema attncli.check/1.

check.csv         a row per rule: name, sort (attention, budget, class, suite, baseline), holds, line, wanted, why,
                  kind, layer, head, text, heads, met, found, than, rank, keys, chance, p, low, high
check-cases.csv   a row per case of a suite, by the head that stands for the suite: suite, line, pair, text, query,
                  target, than, holds, kind, layer, head, weight, than_weight, rank, keys
check-drifts.csv  a row per measure of a head that drifted: kind, layer, head, metric, baseline, now, tolerance

kind, layer, head  the head concerned: of rules for any head the one that keeps it best, or comes nearest; of rules
                   for all heads the worst; of a baseline the one that drifted furthest in tolerances
text               the number of the text that shows it, as in "inputs"
heads, met         how many heads were asked, and how many of them keep the limits
found              its weight, measure or rate; than: the weight on the word of `than`, of a baseline what it was
rank, keys         of the target among the keys that may be seen, its tokens as one: 1 gets most
chance             what even attention over the visible keys would give
p                  the share of permutations that give as much, where above was asked
low, high          95 % interval of Wilson of the rate of a suite
Empty              what a sort of rule does not have

check.json holds all tables as "rules", "cases" and "drifts", with "holds", whether all rules do, and "tolerance", that
of all comparisons. For each rule that does not hold rule-NN-KIND-L03-H01.png is the heatmap of the head concerned, NN
the number of the row. --junit writes a test case for each rule. baseline.json (schema attncli.baseline/1) has the
measures of every head, rounded to 6 decimals. Exit code 1 where a rule does not hold, after all is written."""


def rules_schema() -> dict[str, Any]:
    """The file as a JSON Schema."""
    schema = file_section().model_json_schema()
    sorts: list[dict[str, Any]] = [section.model_json_schema() for section in (AttentionSection, ClassSection)]
    budget, limits = BudgetSection.model_json_schema(), LimitsSection.model_json_schema()
    budget["properties"] |= dict.fromkeys(registry.names("metrics"), limits)
    schema["properties"]["rules"]["items"] = {"anyOf": [{"type": "string"}, *sorts, budget]}
    for each in (*sorts, budget):
        schema.setdefault("$defs", {}).update(each.pop("$defs", {}))
    text = schema["$defs"]["TextSection"]
    schema["$defs"]["TextSection"] = {"anyOf": [{"type": "string"}, text]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "attncli check"}
