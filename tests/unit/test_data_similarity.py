"""Near duplicates against brute force over all pairs."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.similarity import find_similar, near_duplicate_clusters, text_key


def jaccard(left: str, right: str) -> float:
    """The definition, from scratch."""
    sets = []
    for text in (text_key(left), text_key(right)):
        sets.append({text[i : i + 3] for i in range(len(text) - 2)} if len(text) >= 3 else {text})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def brute_force_clusters(texts: list[str], threshold: float) -> list[int]:
    clusters = list(range(len(texts)))
    for left, right in itertools.combinations(range(len(texts)), 2):
        if clusters[left] != clusters[right] and jaccard(texts[left], texts[right]) >= threshold:
            low, high = sorted((clusters[left], clusters[right]))
            clusters = [low if cluster == high else cluster for cluster in clusters]
    return clusters


def near_texts(seed: int, count: int = 120) -> list[str]:
    rng = random.Random(seed)
    words = [
        "where",
        "is",
        "my",
        "new",
        "card",
        "it",
        "has",
        "not",
        "come",
        "yet",
        "please",
        "tell",
        "me",
        "when",
        "will",
        "arrive",
        "the",
        "order",
    ]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(count // 2)]
    for text in list(texts):
        at = rng.randrange(len(text))
        texts.append(text[:at] + rng.choice("xyz ") + text[at + 1 :])
    return texts


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_clusters_are_those_of_brute_force(threshold: float, seed: int) -> None:
    texts = near_texts(seed)
    assert near_duplicate_clusters(texts, threshold) == brute_force_clusters(texts, threshold)


@pytest.mark.parametrize("seed", [3, 4])
def test_find_similar_names_a_match_of_each_text_that_has_one(seed: int) -> None:
    texts = near_texts(seed)
    here, there = texts[:60], texts[60:]
    found = find_similar(here, there, 0.8)
    assert [i for i, _ in found] == [i for i, text in enumerate(here) if any(jaccard(text, o) >= 0.8 for o in there)]
    assert all(jaccard(here[i], there[j]) >= 0.8 for i, j in found)
    assert find_similar([], there) == find_similar(here, []) == []


@pytest.mark.parametrize("numbers", [10**6, 100])
def test_thousands_of_texts_from_one_template_cost_seconds(numbers: int) -> None:
    rng = random.Random(1)
    texts = [f"where is my order number {rng.randrange(numbers)} of {rng.randrange(numbers)}" for _ in range(3000)]
    began = time.process_time()
    near_duplicate_clusters(texts)
    find_similar(texts[:2000], texts[2000:])
    assert time.process_time() - began < 10


def test_case_width_and_white_space_make_no_difference() -> None:
    assert near_duplicate_clusters(["Hello  World", "\uff28\uff25\uff2c\uff2c\uff2f world\n", "other words here"]) == [
        0,
        0,
        2,
    ]


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=12))
def test_equal_keys_always_share_a_cluster(texts: list[str]) -> None:
    clusters = near_duplicate_clusters(texts)
    for left, right in itertools.combinations(range(len(texts)), 2):
        if text_key(texts[left]) == text_key(texts[right]):
            assert clusters[left] == clusters[right]
    assert all(clusters[cluster] == cluster <= index for index, cluster in enumerate(clusters))


@settings(deadline=None)
@given(st.text())
def test_a_key_is_its_own_key_up_to_unicode_folding(text: str) -> None:
    assert text_key(f"  {text}\n") == text_key(text)


def test_near_duplicates_are_found_among_thousands_of_lookalikes() -> None:
    rng = random.Random(5)
    template = "dear customer your parcel number {} has left our depot and will arrive on the {} of {}"
    texts = [template.format(rng.randrange(10**9), rng.randrange(28), rng.choice("abcdef") * 9) for _ in range(4000)]
    copies = [text.replace("parcel", "parcels", 1) for text in texts[:200]]
    clusters = near_duplicate_clusters([*texts, *copies], 0.9)
    found = sum(clusters[4000 + row] == clusters[row] for row in range(200))
    assert found >= 190
    pairs = [(row, other) for row, other in enumerate(clusters) if row != other]
    assert all(jaccard([*texts, *copies][row], [*texts, *copies][other]) > 0.8 for row, other in pairs)


def test_a_text_is_matched_with_the_first_similar_one() -> None:
    among = ["something else", "where is my card", "Where is  my card", "where is my card?"]
    assert find_similar(["where is my card", "nothing"], among, 0.8) == [(0, 1)]


def test_sketches_are_remembered(tmp_path) -> None:
    texts = near_texts(9)
    first = near_duplicate_clusters(texts, 0.8, tmp_path)
    assert list(tmp_path.glob("bands-*/*.arrow"))
    assert near_duplicate_clusters(texts, 0.8, tmp_path) == first == near_duplicate_clusters(texts, 0.8)
