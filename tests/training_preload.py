"""Imports what a tiny training needs, once for all processes that are forked afterwards."""

import gc

import datasets
import transformers.models.bert.modeling_bert
import transformers.models.bert.tokenization_bert
from transformers import PreTrainedTokenizerFast

import tasks.train.finetune
import tasks.train.loading
import tasks.train.trainer

__all__ = ["PreTrainedTokenizerFast", "datasets", "tasks", "transformers"]

gc.freeze()  # the processes collect what is their own
