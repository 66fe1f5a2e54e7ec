"""Which profile and which device, on machines with and without a GPU, of which others may have taken their part."""

import pytest
import torch

from bdbook.training import engine, profiles

GIB = 2**30


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in (profiles.VARIABLE, profiles.SHARE, "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gpus(monkeypatch):
    """A pretended machine: gpus(free GiB of each) -> list of the parts that a process asked for, (share, index)."""

    def pretend(*free: float, own: float = 0) -> list:
        shares = []
        cuda = {
            "is_available": lambda: True,
            "is_bf16_supported": lambda: True,
            "device_count": lambda: len(free),
            "mem_get_info": lambda index: (int(free[index] * GIB), 40 * GIB),
            "memory_reserved": lambda index: int(own * GIB),
            "get_device_name": lambda index: f"GPU {index}",
            "set_per_process_memory_fraction": lambda share, index: shares.append((share, index)),
        }
        for name, answer in cuda.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        return shares

    return pretend


def test_profile_given_beats_the_variable_beats_the_machine(monkeypatch):
    monkeypatch.setenv(profiles.VARIABLE, "smoke")
    assert profiles.resolve("cpu") == "cpu"
    assert profiles.resolve() == "smoke"
    monkeypatch.delenv(profiles.VARIABLE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert profiles.resolve() == "cpu"
    with pytest.raises(ValueError, match="needs a CUDA device and none was found"):
        profiles.device("gpu")
    with pytest.raises(ValueError, match="unknown profile 'smok': did you mean 'smoke'"):
        profiles.resolve("smok")


def test_a_gpu_with_room_is_taken(gpus, recwarn):
    shares = gpus(39.5)
    assert profiles.resolve() == "gpu"
    assert engine.current_engine("gpu") == engine.Engine(torch.device("cuda"), torch.bfloat16)
    assert shares == []
    assert len(recwarn) == 0


def test_a_full_gpu_is_left_to_others(gpus):
    gpus(0.4)
    full = r"wants 2 GiB of GPU memory, and GPU 0 has 0\.4 of 40\.0 GiB free: others are using it"
    with pytest.warns(UserWarning, match=full + "; this runs under profile cpu"):
        assert profiles.resolve() == "cpu"
    with pytest.raises(ValueError, match=full + "; use profile cpu, or wait"):
        profiles.device("gpu")


def test_a_full_gpu_is_no_matter_to_who_asked_for_the_cpu(gpus, recwarn):
    gpus(0.4)
    assert profiles.resolve("cpu") == "cpu"
    assert profiles.device("cpu") == torch.device("cpu")
    assert len(recwarn) == 0


def test_what_this_process_holds_is_room(gpus):
    gpus(0.4, own=6)
    assert profiles.resolve() == "gpu"
    assert profiles.device("gpu").type == "cuda"


def test_each_of_several_processes_looks_at_its_own_gpu(gpus, monkeypatch):
    shares = gpus(0.4, 30)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(profiles.SHARE, "0.5")
    assert profiles.device("gpu").type == "cuda"
    assert shares == [(0.5, 1)]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match=r"GPU 0 has 0\.4"):
        profiles.device("gpu")


@pytest.mark.parametrize("told", ["0", "1.5", "-0.25", "a quarter", "nan"])
def test_a_share_that_is_none_is_refused(gpus, monkeypatch, told):
    gpus(30)
    monkeypatch.setenv(profiles.SHARE, told)
    with pytest.raises(ValueError, match=f"BDBOOK_GPU_SHARE was '{told}'; expected a part .* such as 0.25"):
        profiles.device("gpu")
