"""What a text is made of, told from the text alone: its language, and how many words it has.

It judges no row and removes nothing; the slices and the cleaning step `filter` do what follows from it.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

MIN_CONFIDENCE = 0.6  # of a language; on English questions and chats at most 0.4 % of the texts are then misnamed
UNSURE = "unsure"
# ISO 639 codes of what can be told; written out, so that a spec is checked without loading the model.
_CODES = """
    ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv fy
    ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky la lb lg
    lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl
    sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu
"""
LANGUAGES = frozenset(_CODES.split())

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai to Han: no spaces
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def count_words(text: str) -> int:
    """Return the number of words; in scripts without spaces each character counts as one."""
    return len(_WORD.findall(text))


def tell_languages(texts: Sequence[str]) -> list[str]:
    """Return the ISO 639 code of each text's language, `UNSURE` for one that tells too little, such as a short one.

    A language is told when its probability is at least `MIN_CONFIDENCE`. The probabilities are py3langid's: naive Bayes
    over byte n-grams (Lui and Baldwin, ACL 2012). Each distinct text is looked at once.
    """
    told = dict.fromkeys(texts, UNSURE)
    identifier = load_identifier()
    for text in told:
        language, confidence = identifier.classify(text)
        if confidence >= MIN_CONFIDENCE and language in LANGUAGES:  # zxx, no language, is none of them
            told[text] = language
    return [told[text] for text in texts]


@cache
def load_identifier() -> Any:
    """Return the identifier of all languages; its model takes seconds to load."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
