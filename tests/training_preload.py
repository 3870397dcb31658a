"""Imports what a tiny training needs, once for all processes that are forked afterwards."""

import gc

import datasets
import transformers.models.bert.modeling_bert
import transformers.models.bert.tokenization_bert
from transformers import PreTrainedTokenizerFast

import tasks.train.bases.loading
import tasks.train.engine.trainer
import tasks.train.finetune

__all__ = ["PreTrainedTokenizerFast", "datasets", "tasks", "transformers"]

gc.freeze()  # the processes collect what is their own
