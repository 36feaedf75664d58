"""The ledger: every claim of the seed documents, what became of it, and which numbers say so.

``ledger`` reads the rows (data, in ``ledger/*.toml``), ``evaluate`` and ``counts`` compute what a row asks for, and
``verdicts`` judges each row by the records of the log.  No verdict and no evidence is ever written into a row.

Leaves out reading the log and showing the outcome: ``cli.claims`` does both for the terminal, ``docs/hooks/claims.py``
for the site.
"""
