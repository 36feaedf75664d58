"""What chapters 1 and 2 share: training a stack of tiny models, and reading it.

``training`` trains, ``outcome`` measures one number per seed, ``trials`` are the side experiments, ``tables``
and ``figures`` turn tensors into the plain data of a Result.  No chapter is imported here.
"""
