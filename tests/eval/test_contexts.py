from eval.contexts import place_contexts
from eval.questions import Question
from rag.documents.document import Document
from tuning.data.formats.given import Context

DESK, HALL = Context("The desk opens at nine.", "Desk"), Context("The hall is green.", is_gold=False)


def test_texts_that_came_with_rows_are_documents_after_those_that_are_there() -> None:
    known = Document("d1", "", "The  desk opens\nat nine.")
    placed = place_contexts([known], [DESK, HALL, DESK])
    assert placed.documents == (known, Document(HALL.id, "", HALL.text, {}))
    assert placed.notes == ("2 texts that came with rows are documents, 1 of them in a document that is there",)
    question = Question("q", "When?", ("nine",), (DESK.id, "d1"), contexts=(DESK, HALL))
    assert placed.renamed([question]) == (Question("q", "When?", ("nine",), ("d1",)),)


def test_without_texts_nothing_is_said() -> None:
    placed = place_contexts([], [])
    assert (placed.documents, placed.notes) == ((), ())
    question = Question("q", "When?", ("nine",), ("d1",))
    assert placed.renamed([question]) == (question,)
