"""One page about runs: a single HTML file that needs no network and no other file."""

from dam_tf.report.page import write_report

__all__ = ["write_report"]
