"""llmlab: how tiny language models come to mean something, in six runnable chapters.

1. ``phase1``            train only the output layer; the embedding stays where it fell
2. ``phase1_2``          how embeddings move, and what an inner product decides
3. ``baseline``          New-LLM, a recurrent context-vector language model
4. ``layers``            depth sweep of that model
5. ``embedding_freeze``  pretrained embeddings, frozen against trained
6. ``two_stage``         fixed contexts C*, then the token block

Each chapter module has one function,
``run(settings, on_step=None) -> Result``, and one command of the same name: ``llmlab phase1-2``.

This file imports nothing, so that ``import llmlab`` costs nothing.
"""

__version__ = "0.1.0"
