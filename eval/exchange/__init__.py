"""Other tools' files: data sets that come in, answers that go out."""
