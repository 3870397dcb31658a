"""What `ratchet doctor` says of the hardware that a training would run on."""

import os

import pytest
import torch

from flows.doctor import examine
from tasks.train.hardware import describe_hardware


def test_the_doctor_says_what_a_training_runs_on(tmp_path):
    [found] = [finding for finding in examine(tmp_path) if finding["check"] == "training"]
    assert found["ok"]
    assert found["found"] == describe_hardware()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is there without a GPU")
def test_without_a_gpu_it_names_cores_and_formats():
    words = describe_hardware()
    assert words.startswith(f"no GPU; {len(os.sched_getaffinity(0))} CPU cores with")
    assert words.endswith("several processes by gloo")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_each_kind_of_gpu_is_named_with_memory_and_formats():
    words = describe_hardware()
    assert f"{torch.cuda.device_count()} x " in words or torch.cuda.device_count() > 1
    assert torch.cuda.get_device_name(0) in words
    assert "GiB, fp16" in words
