"""Reference pages of what is neither a metric nor a command: files that are written, and how a command ends."""

from __future__ import annotations

import importlib
import inspect

from attncli import errors
from attncli.errors import AttnError

_STATS = """Statistics of every head: schema attncli.stats/1.

{
  "schema": "attncli.stats/1",
  "run": {"model", "revision", "class", "architecture", "dtype", "device", "capture", "tokenizer",
          "versions", "resolved", "notes", "seed", "input_sha256", "format"},
  "inputs": [{"index", "text", "kind", "queries": ["[CLS]", "the", …], "keys": […]}],
  "by": "norm",                               with --by norm
  "metrics": {"entropy": {"unit", "range": [0, null], "source", "question"}},
  "heads": [{"kind", "layer", "head", "texts", "queries", "entropy", …}],
  "tokens": [{"text", "kind", "layer", "head", "query", "token", "entropy", …}]     with --per-query
  "keys":   [{"text", "kind", "layer", "head", "key", "token", "received"}]         with --per-query
}

heads    one object per head, ordered by kind, layer, head, with one entry per metric. With several texts the value
         is the mean over texts of each text's mean over its real query tokens, and <metric>_std stands beside it.
queries  how many query tokens were counted, over all texts. Padding never counts.
null     undefined, never zero.
by       rows are of each norm's share of its row, not of weights (attncli explain value-weighted-norms); heads, tokens
         and keys say so too, and so do the tables, in a last column
head, layer  the word "mean" where --aggregate or --aggregate-layers combined them."""

_CSV = """The heads of stats.json as a table.

Columns kind, layer, head, texts, queries, then one per metric; with several texts <metric>_std beside each.
An empty cell is undefined. --per-query adds stats-tokens.csv and stats-keys.csv, one row per token.
With --by norm a last column `by` says that rows were shares of norms.
--format parquet and --format jsonl write the same rows, with true types and as one object a line."""

_EDGES = """The strongest weights, one a row: schema attncli.edges/1.

Written by stats --top-k K and stats --min-weight W.
Columns text, kind, layer, head, query, key, query_token, key_token, weight.

--top-k K       of each token and head the K largest weights on keys that it may see, all where it sees fewer
--min-weight W  those of at least W; with both, at most K of at least W
weight          float32, after softmax. Tokens are exact pieces, dictionary-encoded.

Ordered by text, kind, layer, head and query; of one query the largest first, of equal weights the first key. More
than a million are written in pieces while texts are read, not in their order; each piece is in this order: one or
several layers, or some tokens of a very large layer. Memory and file grow with the number of tokens, not with its
square."""

_PROFILE = """Where attention goes over whole texts, written by stats --profile.

received.csv  what each key receives in each head: text, kind, layer, head, key, token, received, seen_by
              received is the mean weight on it over the seen_by tokens that may see it (attncli explain received)
sinks.csv     the same rows where received is at least --sink-threshold (default 0.3) and at least 5 tokens, or all,
              see the key; in a causal model few and near tokens see the last keys (seen_by), so that a head which
              looks nearby makes sinks of them
distance.csv  how far each head looks: kind, layer, head, from, to, mass, uniform_mass
              mass is the share of the attention that goes to keys |i-j| = from … to tokens away; self-attention only
ends.csv      the ends of the text: kind, layer, head, end, tokens, mass, uniform_mass
              first  the keys 0 … N-1, N is --ends (default 64)
              near   |i-j| < N, which in a causal model is the window of the N latest keys; self-attention only
              rest   neither first nor near: what a cache of the first and the N latest keys would lose
              last   the last N keys of the text
              over the tokens that see more than N keys, as the others have no choice

mass          the mean over the tokens of a text; over several texts the mean of those, with mass_std beside it
uniform_mass  the same of attention spread evenly over the keys that each token may see: the baseline
empty         no token sees such a key

<kind>-received.png draws the first with the sinks named, <kind>-distance.png the third beside its baseline; with
several texts each has a received picture of its own (T000-…). --format parquet and jsonl write the same tables."""

_FLOW = """Rollout or attention flow through the layers: schema attncli.flow/1.

{
  "schema": "attncli.flow/1",
  "run": {as in stats.json},
  "flows": [{"text", "kind", "method", "layers", "residual", "aggregate", "queries": ["[CLS]", …], "keys": […],
             "rows": [10], "values": [[0.4, …]], "uniform": [[…]], "position": [[…]], "maximum": [[…]]}]
}

rows      positions of the tokens at the top that were asked for, a row each; a column for each input token
values    how much of the input token is in it. Rows sum to 1 over all inputs: of a decoder that reads an encoder over
          the flows `decoder` (the target's input) and `cross` (the source) together
uniform   the same if each token looked evenly at all that it may see, and
position  if each layer were its own mean map by distance: two baselines. null for cross, where there is no distance
maximum   with --method flow, the maximum flow before rows were made to sum to 1
by        norm, with --by norm: layers are of shares of norms, not of weights (attncli explain value-weighted-norms)

flow.csv has a row for each value: text, kind, query, key, query_token, key_token, rollout or flow, uniform, position
and maximum. --format parquet and jsonl write the same table, svg and pdf the pictures.

<kind>-<method>-matrix.png draws the values, <kind>-<method>.png the layers (of up to 128 tokens): from --focus lines as
wide as the share of its rollout that runs along them, else as what a token takes of the layer below."""

_MANIFEST = """What a run wrote and where it comes from: schema attncli.run/1, in every output folder.

{
  "schema": "attncli.run/1",
  "command": "heatmap",
  "created": "2026-01-31T12:00:00+00:00",     the only time that is written anywhere
  "digest": "0123456789ab",                   equal for equal model, revision, input and resolved options
  "complete": true,                           false where the run was interrupted
  "run": {as in stats.json, and "given": the options as they were typed},
  "files": [{"name", "size", "sha256"}]
}"""

_VIEW = """One page with every head, written by view: self-contained HTML, schema attncli.page/1.

It loads nothing and sends nothing: script, style and data are inside, and its content-security policy allows no more.

"page"    a script element with JSON: the run, the tokens and texts, and which part holds what
"blob-N"  script elements with the parts: numbers, little endian, compressed with zlib, in base64

weights   8 bits each with the largest weight of the row as scale: off by less than 1/255 of it
vectors   of --neurons, 16 bits each: query and key vectors as they are multiplied, after rotary positions; with the
          normalizer of each row, ln of the sum of exp(score), they give the weights again

A page that would become larger than --max-page (default 32MB, of uncompressed parts in base64) holds of each row the
strongest weights instead, 4 to 64 of them, and a pooled map of at most 256 cells a side. A note says so. Whole maps
do not exist then, so that texts of thousands of tokens need little memory."""

_PATTERNS = """What each head does, written by patterns: schema attncli.patterns/1.

{
  "schema": "attncli.patterns/1",
  "run", "inputs":  as in stats.json
  "thresholds": {"vertical", "diagonal", "reach", "local", "sparse", "uniform", "block"},
  "classes": {"vertical": the question that it answers, …},
  "numbers": {"sink": {"unit", "range", "source", "question"}, …},
  "heads":  [{"kind", "layer", "head", "texts", "queries", "classes": ["vertical", …], "sink", "sink_uniform",
              "sink_positional", "sink_shuffled", …}],
  "layers": [{"kind", "layer", "heads", "differentiation", "differentiation_positional", "differentiation_shuffled"}]
}

classes          of the head, the clearest first: attncli explain vertical, and so on
segment_mass     mean weight within the segment of a token (text a or b of a pair, role of a chat turn); null where a
                 text has no two segments
differentiation  the mean distance √JS between the rows of two heads of the layer, over all pairs of them: from 0, all
                 heads alike, to 0.833, no two with a key in common; of texts of more than 1024 tokens as many rows are
                 compared, evenly spread. Under uniform attention it is 0

Beside each number stands what explains it without the head:
_uniform     the same of weights 1/|S_i| on each of the |S_i| keys that a row may see
_positional  the same of weights that depend on the offset j-i alone: p(j-i) / Σ_{k ∈ S_i} p(k-i), p the head's own mean
             weight at each offset in that text. In short texts, where few rows have an offset, p fits the text itself
_shuffled    the same of the model on the same texts with the tokens of each segment in another order, special tokens in
             their places: the mean over --shuffle-seeds orders, drawn by the seeds 0, 1, …; not with --from
_std         the population standard deviation over texts, where there are several
null         undefined, never zero; _uniform and _positional also where what a row may see has gaps (Longformer)

patterns.csv has the heads, patterns-layers.csv the layers. patterns.png draws both; patterns-examples.png the clearest
head of each class on the first text; KIND-L03-patterns.png, with --layer, the heads of a layer."""

_HEADS = """Which heads are alike, written by heads: schema attncli.heads/1.

{
  "schema": "attncli.heads/1",
  "run", "inputs":  as in stats.json
  "grouping":  {"clusters", "threshold", "redundant"},
  "compared":  {"texts", "rows"},
  "kinds":     [{"kind", "heads", "median": {"distance", "distance_positional", "distance_shuffled"}, "stress",
                 "clusters": [["5.3", "5.5"], …], "tree"}],
  "heads":     [{"kind", "layer", "head", "x", "y", "cluster", "nearest", "nearest_distance",
                 "nearest_distance_positional", "nearest_distance_shuffled", "to_even"}],
  "redundant": [{"kind", "layer", "head", "other_layer", "other_head", "distance", "distance_positional",
                 "distance_shuffled", "same_cluster"}],
  "layers":    [{"kind", "layer", "heads", "rows_to_mean", "rows_to_mean_uniform", "rows_to_mean_positional",
                 "rows_to_mean_shuffled", "cosine", "cosine_input", "cosine_shuffled",
                 "rank_one_distance", "rank_one_distance_input", "rank_one_distance_shuffled"}]
}

distance            between two heads of a kind, of any layers: √JS, JS the Jensen-Shannon divergence of their rows in
                    nat, the mean over the rows of a text; over several texts the mean distance. From 0, alike, to
                    0.833, no key in common. Of texts of more than 128 tokens at most 128 rows, evenly spread (Clark et
                    al. 2019, who sum over rows)
_positional         the same between what position alone makes of the heads: the mean weight of each at each distance,
                    put on the keys that a row may see. Means are smoother than rows, so it is nearly always less: how
                    much of a distance is one of places
_shuffled           the same on the texts with their tokens in another order. Heads that are as close there are alike
                    whatever a text says; those that are further apart there do the same on these words alone
median              over all pairs, and to_even, of a head to even attention over the keys that each row may see: what
                    to hold a distance against. Two heads that both look evenly are close without doing the same work
x, y                a map by metric multidimensional scaling; stress: how far its distances are off, from 0.2 on poor
clusters            by average linkage, cut at --threshold or into --clusters; numbered in the order of the tree, those
                    of several heads first
tree                [one, other, distance, heads below] of each joint, as SciPy has it
redundant           pairs closer than --redundant, the closest first: they look alike on these texts, which does not
                    say that one of them can be removed

rows_to_mean        mean JS of all rows of all heads of a layer to their mean row: 0 where all tokens look at the same
                    keys; _uniform: the same of even attention, which is not 0 in causal models
cosine              mean cosine between the hidden states of two tokens behind the layer, all tokens of a text
rank_one_distance   ‖X - 1x̄ᵀ‖ / ‖X‖ of those states, Frobenius norms, x̄ their mean: 0 where all tokens are the same
                    (Dong et al. 2021, with another norm). Of the last layer many models give states normalised once
                    more
_input              the same of what goes into the first layer of the stack
null                undefined: cosine and rank_one_distance with --from, of cross-attention, which has no stack of its
                    own, and where a model gives no hidden states

heads.csv has the heads, heads-pairs.csv all pairs, the closest first, heads-layers.csv the layers. heads-map.png draws
x and y, heads-dendrogram.png the tree, heads-distances.png all distances in its order, heads-layers.png the layers; of
several kinds of attention each has its own (decoder-heads-map.png)."""

_REPEATED = """How heads treat tokens that come twice, written by patterns --probe repeated: schema attncli.repeated/1.

{
  "schema": "attncli.repeated/1",
  "run", "inputs":  as in stats.json; the inputs are the random tokens
  "length": 50, "seeds": [0, 1, 2],
  "numbers": {"induction": {"unit", "range", "source", "question"}, …},
  "heads": [{"kind", "layer", "head", "texts", "queries", "previous", "previous_std", "previous_uniform",
             "previous_shuffled", …, "induction_all_rows", …}]
}

The input is BOS r r: r are --length different tokens of the ordinary vocabulary, drawn by the seeds 0, 1, …; an encoder
has its own special tokens before and behind. previous, duplicate and induction are means over the rows of the second r
(attncli explain induction).
_all_rows  the same sum divided by all rows: at most about one half
_uniform   the same of weights 1/|S_i| on each of the |S_i| keys that a row may see
_shuffled  the same of the model where the second r comes in another order: what position alone gives
_std       the population standard deviation over seeds

repeated.csv has the heads, repeated.png draws the three scores."""

_MAPS = """Kept maps, written by --save-maps and read by --from.

run.json          texts, tokens and what each array is: schema attncli.saved/1
maps.safetensors  weights, float32, axes layer, head, query, key (--layout query,key,head: query, key, head);
                  and bool arrays of which keys each row may see; with view --neurons also query and key vectors
maps.npz          the same with --maps-format npz

--save-maps keeps whole maps, whatever the pictures show. A run of the Python library that kept a window or cells
says so in run.json: "window" (first and last query, first and last key), "pool" and "cell" (queries and keys in one).

With --by norm they are value-weighted norms: run.json says "by": "norm", arrays end in .norms, and --from takes them
only with --by norm, as it takes weights only without.

Maps of other tools: --from FILE.npz reads an array of 2 to 5 axes: query, key; before them head, layer and text.
--labels names the tokens, one a line."""

_CODES = """How a command ends.

0    done
1    a check did not hold, or attncli itself is defective
2    the call or the input is wrong
3    the model cannot serve
4    an output could not be written
130  interrupted

Every error is one line on stderr: what was expected, what was got and what to do. --debug adds the traceback.
What was written before stays valid."""

_SEGMENTS = """Attention between the parts of a text, written by segments: schema attncli.segments/1.

segments.csv         every head: kind, layer, head, from, to, texts, mass, uniform_mass, positional_mass, ratio
segments-mean.csv    the mean over layers and heads: kind, from, to, texts, mass, uniform_mass, positional_mass, ratio,
                     and the head that gives most: highest_mass, highest_layer, highest_head
segments-tokens.csv  with --generate, each token that the model wrote: text, kind, layer, query, token, to, mass,
                     uniform_mass; the mean over the chosen heads of the layer

Formula       mass(s, t) = mean over the rows i of s of Σ_{j in t} A_ij
              uniform_mass(s, t) = the same of 1/|S_i| on each visible key: a baseline
              positional_mass(s, t) = the same of p(j-i) / Σ_{k ∈ S_i} p(k-i), p the head's own mean weight at each
              offset: what its habit of looking so and so far would put there. Empty in cross-attention
ratio         mass / uniform_mass: 1 is what the lengths alone give. Empty where no row may see the segment
Unit          1, a share of the attention; the shares of a row of segments sum to 1, or to less in models whose learned
              sink takes the rest
texts         how many texts have both segments; with several the value is the mean over them, mass_std beside it
Caveat        A share says where a head looks, not what it takes from there. Near parts get more for their nearness
              alone, which uniform_mass does not know and positional_mass does.
Segments      a and b of a pair, the roles of a chat, prompt and generated, ¶1 ¶2 … of paragraphs between blank lines,
              those of --segments; special for special tokens, rest for what no span covers

<kind>-segments.png draws the means beside the baseline, <kind>-segments-heads.png every head (up to 16 segments),
<kind>-segments-tokens.png the written tokens. segments.json holds all tables as "heads", "mean" and "tokens", and in
"inputs" the segment of every token. --format parquet and jsonl write the same tables."""

_COMPARE = """What is different between A and B, written by compare: schema attncli.compare/1.

compare.csv           each head, those that differ most first: kind, layer, head, texts, js_distance, js_low, js_high,
                      nearest_distance
compare-measures.csv  each measure of each head, the largest effect first: kind, layer, head, metric, texts, a, b,
                      change, change_low, change_high, p, p_adjusted, effect

js_distance       sqrt(mean over tokens of JS), JS = ½ [KL(p‖m) + KL(q‖m)], m = (p + q) / 2, of rows p of A and q of B;
                  over texts the mean. sqrt(nat), from 0 (equal) to sqrt(ln 2) = 0.833 (no key in common)
nearest_distance  the baseline: the same between the head and the other head of its layer in A that is most like it,
                  over at most 64 tokens of each text. A head whose js_distance comes near it looks as another would
a, b, change      the measure in A and in B, the mean over the texts where both have it, and b - a
*_low, *_high     95 % bootstrap intervals over texts: percentiles of 2000 seeded samples
p                 the share of the ways to turn around the signs of the changes of single texts that give as much:
                  of all ways up to 13 texts, else of 9999 seeded ones
p_adjusted        the same for many heads at once, Benjamini and Hochberg 1995, over all heads of a measure
effect            change as a share of the standard deviation of the measure over all heads, of A and of B: 1 is as much
                  as heads differ from each other
Empty             intervals and p of fewer than 6 texts; the js_distance of texts of unlike length; what is undefined
Caveat            A small p says that a change is no chance, the effect whether it is large: rounding to bfloat16
                  changes most heads for certain, but hardly. Texts count as independent of each other.
Metrics           all that say how much; sink_position and diagonal_offset only by --metric, as a mean of places says
                  little

Models that read a text as other tokens are refused; --words compares words, where these are the same. Two texts of
--against-text are laid over each other position by position. The maps of one text of A and of B are held at a time.
compare.png draws js_distance and the changes of the main measures. compare.json holds both tables as "heads" and
"measures", and where B comes from as "other"."""

_SPANS = """Which passages are the segments of a text: the file of segments --segments, JSON.

{"question": ["Who sat on the mat?"],
 "document 1": [[20, 310]],
 "document 2": [[312, 590], "and its footnote"],
 "answer": [{"tokens": [140, 152]}]}

An object of names, each with a list of spans. A span is one of
"a passage"               as it stands in the text, where it occurs once
[start, end]              characters of the text
{"tokens": [start, end]}  tokens as they are read, which are words with --words
All are counted from 0, the end is not part of the span. A token belongs to a segment when any of its characters does,
and to one segment alone. Special tokens stay special, what the model wrote stays generated, all others are rest.
For several texts: a list of such objects, one for each. Of an encoder-decoder the spans are those of the source. The
text of a chat is what the chat template makes of it."""

PAGES = {
    "compare.json": _COMPARE,
    "edges.parquet": _EDGES,
    "exit-codes": _CODES,
    "flow.json": _FLOW,
    "heads.json": _HEADS,
    "manifest.json": _MANIFEST,
    "maps": _MAPS,
    "patterns.json": _PATTERNS,
    "profile": _PROFILE,
    "repeated.json": _REPEATED,
    "segments-file": _SPANS,
    "segments.json": _SEGMENTS,
    "stats.csv": _CSV,
    "stats.json": _STATS,
    "view.html": _VIEW,
}


ANALYSES = {
    "attention-flow": ("attncli.studies.flow.maximum_flow", "maximum_flows"),
    "cosine": ("attncli.studies.heads.smoothness", "mean_cosine"),
    "head-distance": ("attncli.studies.heads.text_distances", "text_likeness"),
    "rank_one_distance": ("attncli.studies.heads.smoothness", "rank_one_distance"),
    "rollout": ("attncli.studies.flow.rollout", "Rollout"),
    "rows_to_mean": ("attncli.studies.heads.text_distances", "smoothness"),
    "value-weighted-norms": ("attncli.stream.norms", "Normed"),
}
"""Where the pages of analyses stand."""


def analysis_page(name: str) -> str:
    """What the code says of an analysis."""
    home, thing = ANALYSES[name]
    return inspect.getdoc(getattr(importlib.import_module(home), thing)) or ""


def error_pages() -> dict[str, str]:
    """A page for each error by its name."""
    kinds = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, AttnError)]
    return {kind.__name__: f"{inspect.getdoc(kind)}\n\nExit code {kind.exit_code}." for kind in kinds}
