"""What is shown of a chapter, apart from its lesson: titles, columns, captions, pictures and sentences, as data."""
