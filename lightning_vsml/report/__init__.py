"""Optimizers and learning algorithms side by side on a user's own module and data: whether to use one.

``python -m lightning_vsml.report MODULE:CALLABLE`` writes a report; see docs/report.md. From data to words:
:mod:`~lightning_vsml.report.batches`, :mod:`~lightning_vsml.report.run`, :mod:`~lightning_vsml.report.recorder`,
:mod:`~lightning_vsml.report.figures`, :mod:`~lightning_vsml.report.verdict`, :mod:`~lightning_vsml.report.page`.
"""
