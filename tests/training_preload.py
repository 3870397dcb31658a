"""Imports what a tiny training needs, once for all processes that are forked afterwards."""

import tasks.train.finetune
import tasks.train.model
import tasks.train.trainer

__all__ = ["tasks"]
