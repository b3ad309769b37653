"""The expressions' common parts. `$stream` and `$instance` are the dashboards' variables, regular expressions both."""

# What belongs to a stream, and what belongs to a worker whatever it reads.
STREAM = '{stream=~"$stream", instance=~"$instance"}'
WORKER = '{instance=~"$instance"}'


def with_label(selector: str, matcher: str) -> str:
    """A selector with one matcher more.

    >>> with_label(WORKER, 'le="0.25"')
    '{instance=~"$instance", le="0.25"}'
    """
    return f"{selector[:-1]}, {matcher}}}"


def rate(counter: str, selector: str = STREAM) -> str:
    """What a counter gains a second, each series for itself.

    >>> rate("skim_consumed_messages_total")
    'rate(skim_consumed_messages_total{stream=~"$stream", instance=~"$instance"}[$__rate_interval])'
    """
    return f"rate({counter}{selector}[$__rate_interval])"


def summed(by: str, expression: str) -> str:
    """Added up, but for these labels (comma-separated; none for one number).

    >>> summed("stream, reason", "x"), summed("", "x")
    ('sum by (stream, reason) (x)', 'sum(x)')
    """
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def quantile(share: float, histogram: str, by: str, selector: str = STREAM) -> str:
    """A quantile of what a histogram took lately, by labels.

    >>> quantile(0.99, "x", "stage", WORKER)
    'histogram_quantile(0.99, sum by (le, stage) (rate(x_bucket{instance=~"$instance"}[$__rate_interval])))'
    """
    return f"histogram_quantile({share}, {summed(f'le, {by}', rate(f'{histogram}_bucket', selector))})"


def mean(histogram: str, by: str, selector: str = STREAM) -> str:
    """The mean of what a histogram took lately, by labels."""
    return f"{summed(by, rate(f'{histogram}_sum', selector))} / {summed(by, rate(f'{histogram}_count', selector))}"


def or_none(expression: str, label: str) -> str:
    """Where there is no such series at all (nothing of the kind was ever seen), a zero that is called "none".

    >>> or_none("x", "feature")
    'x or on () label_replace(vector(0), "feature", "none", "", "")'
    """
    return f'{expression} or on () label_replace(vector(0), "{label}", "none", "", "")'
