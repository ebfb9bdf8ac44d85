"""The words of docs/scale.md around its numbers."""

from __future__ import annotations

VISITS = (
    "every process keeps the labels and the order of the visits (the row, its time and its rank, 8 bytes each). That "
    "is what a pass in random order costs; `--tol` reads in order and keeps a weight a row instead."
)
SEARCH = (
    "the exact search keeps both ends of every judging row's interval, sorted and not, and the curve over them; "
    "sorting takes a little more than linear time. It runs over validation rows, which are few."
)
NOTHING = "Nothing: every time is linear and every memory flat."
WHY = {
    "crt": VISITS,
    "balanced_softmax": VISITS,
    "tau_norm, tuned": SEARCH,
    "logit_adjust, tuned": SEARCH,
    "temperature": "up to 0.5 GiB of logits, here 1.3 million rows, are kept; above, they are computed in each pass.",
    "crt, whole passes": "beside the labels it keeps every row's weight, and of its checks a number a row.",
    "extract, the pass": "a data set of one's own has its labels here three times: its own, checked, and as columns.",
}

PAGE = """\
# Does it hold when the data grow?

With rows, with processes, and when one of them is killed: measured on one machine. What 10⁸ and 10⁹ rows ask for is
worked out from the measured slopes. Numbers and figure come from one command, and this page from another:

<!-- not run: takes 20 minutes -->
```sh
python benchmarks/scale.py
python benchmarks/scale.py --page
```

```text
{machine}
```

## Measured: rows

{least} to {most} rows of 64 features and 100 classes. The rows are made by arithmetic from their number and the
model is one layer, so that what is measured is the project and not a network. Each number is one command in a fresh
process with one thread, its code loaded by the same command on few rows: `rebalance extract`, then `verify`, `fit` and
`tune` on the cache, which is mapped and read in blocks.

*Slope*: log processor seconds over log rows from {since} rows on, with its 95 % interval; where a solver changes its
way with more rows, over the sizes where it does not. Up to {steepest} counts as linear. Processor seconds, for other
work on the machine stretches those of the clock, which stand in the columns of the sizes.

*MB*: the most memory of its own (RssAnon) that the process had beyond what it began the command with, looked up every
10 ms. *MB with files* adds the pages of the mapped cache, which the system takes back when it needs them.

*Bytes a row*: what *MB* grows by over the sizes of the slope. Up to {allowed} bytes a row count as flat: label and id.

{growth}

![Seconds and memory over rows, both axes in powers of ten](figures/scale/growth.svg)

What is not as it should be:

{why}

At the end of an extraction the command judges the model's own head on the finished cache, on 100,000 drawn rows of a
larger split; the cache is whole before it begins.

## Measured: processes

`torchrun --nproc-per-node=N -m rebalance …`, one thread a process. **The machine has two cores**: three and four
processes show that nothing is lost by too many, not what more cores would give. Rows a second are those of the slowest
process without its start, of a fit with the check of the rows it reads.

{processes}

One process is killed with SIGKILL while all are at work; torchrun ends the others, and the same command goes on with
another number of processes, which may lose one again. What comes out is compared with a cache that nobody disturbed.

{killed}

## On paper: 10⁸ and 10⁹ rows

Supposed: {settings}.

### Disk

{storage}

### The extraction

{computing}

Ranks of an extraction do not talk to each other: the network carries images in and features out.

### The fits

What each process adds up with the others (`all-reduce`), with P = {evaluations} evaluations of a solver; a ring carries
twice that. The sums of class features are float64, gradients float32.

{traffic}

Memory is the measured bytes a row times the ranks of a node, for every rank keeps all labels. Core hours are the
measured ones, times {ratio} for K·D products a row, 16 for means, 256 for a covariance: hours of this machine's cores.

{costs}

One pass in random order (`crt`, `balanced_softmax` and the other trained heads without `--tol`) takes steps of 512 rows
one behind the other, whatever the number of ranks, and adds up a gradient after each:

{descent}

### What breaks first

{limits}

## What runs it

Slurm or Kubernetes start the processes, and start them again: [the job files](../examples/cluster/README.md) do that,
and going on is the same command.

Spark, Ray or Dask would be chosen where the images come out of a pipeline that runs there already, where machines come
and go while a job runs, or where rows must be joined and shuffled before they reach the model. `torchrun` is enough
here: an extraction is a list of files with fixed bounds that ranks make without a word to each other, and a fit adds up
one sum a pass; no row moves. A scheduler inside the cluster's own would only be one more thing that can fail.
"""
