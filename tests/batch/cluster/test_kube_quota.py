"""What quotas say; the texts are those of the real thing."""

import pytest

from jobsys.batch.cluster.kube_quota import is_too_small, is_used_up

SAID = 'pods "x-0" is forbidden: exceeded quota: q, requested: {}, used: {}, limited: {} (HTTP 403)'


@pytest.mark.parametrize(
    ("requested", "used", "limited", "too_small"),
    [
        ("pods=1", "pods=2", "pods=2", False),
        ("pods=1", "pods=0", "pods=0", True),
        ("limits.memory=64Mi,pods=1", "limits.memory=1Gi,pods=2", "limits.memory=1Gi,pods=2", False),
        ("limits.memory=2Gi,pods=1", "limits.memory=0,pods=2", "limits.memory=1Gi,pods=9", True),
        ("limits.memory=1025Mi", "limits.memory=1", "limits.memory=1Gi", True),
        ("requests.cpu=100m", "requests.cpu=950m", "requests.cpu=1", False),
        ("requests.cpu=1500m", "requests.cpu=0", "requests.cpu=1", True),
        ("requests.ephemeral-storage=1e3", "requests.ephemeral-storage=0", "requests.ephemeral-storage=1k", False),
        ("requests.example.com/gpu=8", "requests.example.com/gpu=0", "requests.example.com/gpu=4", True),
        ("requests.cpu=1who", "requests.cpu=0", "requests.cpu=0", False),
    ],
)
def test_whether_it_can_be_waited_for(requested, used, limited, too_small):
    text = SAID.format(requested, used, limited)
    assert (is_too_small(text), is_used_up(text)) == (too_small, not too_small)


@pytest.mark.parametrize("text", ["", "pods is forbidden", "failed quota: q: must specify limits.memory"])
def test_what_is_no_such_refusal(text):
    assert not is_used_up(text)
    assert not is_too_small(text)


def test_a_refusal_in_other_words_is_waited_for():
    assert is_used_up("exceeded quota: something new")
