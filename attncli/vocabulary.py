"""Choices and defaults of all options; everything that offers or checks them takes them from here. Imports nothing."""

KINDS = ("encoder", "decoder", "cross")
BYS = ("weight", "norm")
DIRECTIONS = ("from", "to")
ROWS_AS = ("input", "predicted")
TOKEN_NAMES = (
    "a word, it#2 (its second), a position (7, -1), a range (14-21), [CLS], a segment (generated, user) or all"
)
"""The names of tokens in the help of options; the first that the text has is taken: position, segment, word."""
AGGREGATES = ("none", "mean", "max")
WEIGHTS_FILE = "weights:FILE"
"""A value of `--aggregate` that names a file of weights of heads."""
COMBINED = (*AGGREGATES, "weighted")
"""How heads of maps were combined; `weighted` are those of `--aggregate weights:FILE`."""
LAYER_AGGREGATES = ("none", "mean")
SPECIALS = ("keep", "drop")
POOL_TEXTS = ("texts", "tokens")
CAPTURES = ("auto", "stream", "eager")
COMPILES = ("auto", "on", "off")
DTYPES = ("auto", "float32", "bfloat16", "float16")
MODEL_HEADS = (
    *("auto", "base", "causal-lm", "masked-lm", "seq2seq-lm"),
    *("sequence-classification", "token-classification", "question-answering"),
)
DEFAULT_MODEL = "demo:encoder"
BATCH_TOKENS = 4096
TEXT_SOURCES = ("text", "file", "text_file", "chat", "dataset")
"""Options that give the text; a command takes one of them."""
ON_ERRORS = ("stop", "skip")
"""What happens at a record of a corpus that is no text."""

TABLE_FORMATS = ("json", "csv", "parquet", "jsonl")
PICTURE_FORMATS = ("png", "svg", "pdf")
PAGE_FORMATS = ("html",)
HIGHLIGHT_FORMATS = ("html", "svg", "png", "pdf")
MAPS_FORMATS = ("safetensors", "npz")
LAYOUTS = ("layer,head,query,key", "query,key,head")

POOLS = ("mean", "max")
SCALES = ("shared", "panel")
RESOLUTION = 1024
"""Largest number of cells on a side of a picture."""
LINEAR_UP_TO = 256
"""Largest number of tokens on a side for which colours are linear by default."""
MAX_PAGE = "32MB"

ENGINES = ("local", "ray")
"""What can compute the shards of a corpus."""
CORPUS_TEXTS = 1000
"""Largest number of texts that are kept in memory and listed one by one; more texts are a corpus."""

ALL_METRICS = "all"
POSITION_METRICS = ("sink_position", "diagonal_offset")
"""Metrics that are categories: of several heads or texts the most frequent value counts, never a mean."""
ENDS = 64
"""Tokens of the first and of the last part of a text, in a profile."""
SINK_THRESHOLD = 0.3
"""Least attention that a key must receive to be a sink (Gu et al. 2024)."""

CLASS_REACH = 1
"""Largest offset of a diagonal head, in tokens."""
CLASS_MARGIN = 0.2
"""Least distance of vertical, diagonal and local heads from uniform attention."""
HIGHEST_LIMIT = 0.8
"""A text is too short to tell a class if a head would need more than this for it."""
CLASS_THRESHOLDS = {"vertical": 0.3, "diagonal": 0.3, "local": 0.5, "sparse": 0.5, "uniform": 0.95, "block": 0.3}
PROBES = ("repeated",)
PROBE_LENGTH = 50
PROBE_SEEDS = 3
SHUFFLE_SEEDS = 1
LOG_METRICS = ("entropy_normalized", "sink", "previous_mass", "distance")
"""Metrics that `log` measures by default."""
LOG_PROBE_LENGTH = 25
LOG_PROBE_SEQUENCES = 2
CLUSTER_DISTANCE = 0.35
REDUNDANT_DISTANCE = 0.1

FLOW_METHODS = ("rollout", "flow")
DRAWN_UP_TO = 128
"""Largest number of tokens whose layers are drawn."""
DIVISIONS = ("auto", "segment", "paragraph", "line", "sentence")
IMPORTANCE_MEASURES = ("loss", "kl", "probability", "changed", "cosine_distance", "gradient")
IMPORTANCE_METHODS = ("zero", "mean", "gradient")
IMPORTANCE_UNITS = ("head", "group", "layer")
MASKED_SHARE = 0.15
"""Share of the ordinary tokens that are masked to measure the loss of a masked language model."""
PRUNING_UNITS = ("head", "group")
RANDOM_ORDERS = 5
"""Number of random orders of heads in the curve of `prune`; also the least number."""
PRUNED_FORMS = ("zeroed", "smaller", "irregular")
ATTRIBUTION_METHODS = (
    *("integrated-gradients", "input-x-gradient", "gradient-norm", "occlusion", "shapley"),
    *("attention", "attention-x-gradient", "rollout", "value-norm-rollout"),
)
SCORES = ("ln-probability", "logit", "probability")
"""What of a prediction is explained."""
BASELINES = ("auto", "pad", "mask", "unk", "zero", "mean")
"""The vectors that stand for a token that is not there."""
INTEGRATION_STEPS = 50
SHAPLEY_SAMPLES = 25
"""Number of random orders of the tokens."""
FAITHFULNESS_METHODS = ("input-x-gradient", "occlusion", "attention", "attention-x-gradient")
"""Methods that `faithfulness` tests by default: they need no further package."""
REMOVALS = ("mask", "delete", "resample")
"""How tokens are removed to test what a prediction needs."""
DRAWS = 5
"""Number of random orders, and of random tokens in the place of each, that are averaged."""
SUBSETS = 64
"""Most subsets of segments that are left out: all of 6 segments."""
PERMUTATIONS = 100
"""Random orders of the weights of each query (Jain & Wallace 2019)."""
ADVERSARIAL_STEPS = 100
EPSILON = 0.05
"""Largest total variation distance of an output that counts as nearly the same."""
MAP_METHODS = ("pca", "tsne", "umap")
"""How query and key vectors become points."""
MAP_COLOURS = ("side", "position", "type", "norm", "text")
"""What the colours of the points show."""
MAP_VECTORS = 2000
"""Number of sampled vectors of each head."""
