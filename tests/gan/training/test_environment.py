import os
import subprocess
import sys

import torch

from gan.training.environment import differences, environment

HERE = {"threads": 2, "omp_num_threads": None, "cpu": "AVX2", "torch": "2.9"}


def test_it_says_what_this_process_computes_with():
    found = environment()
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu"] == torch.backends.cpu.get_cpu_capability()
    assert found["torch"] == torch.__version__
    assert type(found["torch"]) is str  # a checkpoint holds plain values alone
    assert found["omp_num_threads"] == os.environ.get("OMP_NUM_THREADS")


def test_the_variables_that_people_set_are_in_it():
    program = "from gan.training.environment import environment as e; print(sorted(e().items()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    version = str(torch.__version__)
    expected = {"threads": 1, "omp_num_threads": "1", "cpu": "DEFAULT", "torch": version}
    assert done.stdout == f"{sorted(expected.items())}\n"


def test_only_what_matters_is_a_difference():
    assert differences([HERE], HERE) == []
    assert differences([], HERE) == []
    assert differences([{**HERE, "omp_num_threads": "2"}], HERE) == []
    assert differences([{**HERE, "threads": 1}], HERE) == ["threads: 1 before, 2 now"]
    assert differences([HERE, {**HERE, "cpu": "AVX512", "torch": "2.8"}], HERE) == [
        "CPU capability: AVX512 before, AVX2 now",
        "PyTorch: 2.8 before, 2.9 now",
    ]
    assert differences([{**HERE, "threads": 1}, {**HERE, "threads": 4}], HERE) == [
        "threads: 1 and 4 before, 2 now"
    ]
    assert differences([{}], HERE)[0] == "threads: None before, 2 now"
