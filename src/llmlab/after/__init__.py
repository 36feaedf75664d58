"""What is done with a trained model: judge it again, let it write, make it smaller.

Each verb of ``llmlab baseline <verb> CHECKPOINT`` is a module here with ``WHY``, ``HOW`` and ``run``, as a chapter is.
"""
