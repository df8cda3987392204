"""What a report refuses."""


class ReportError(ValueError):
    """The module, the data or a setting is not one that a report can be made of; nothing was run or written."""
