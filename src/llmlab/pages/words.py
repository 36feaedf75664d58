"""What the log's pages say around the records, in the languages of the sites.

Leaves out what the records say.
"""

CHAPTERS = {
    "phase1": "1 · Only the output layer",
    "phase1-2": "2 · How embeddings move",
    "baseline": "3 · Baseline",
    "generate": "3 · Generate",
    "evaluate": "3 · Evaluate",
    "quantize": "3 · Quantize",
    "finetune": "3 · Finetune",
    "expand": "3 · Expand",
    "layers": "4 · Layers",
    "embedding-freeze": "5 · Embedding freeze",
    "two-stage": "6 · Two stages",
}
"""The experiments in the order of the study, with the chapter each belongs to."""

CHAPTERS_JA = {
    "phase1": "1 · 出力層だけ",
    "phase1-2": "2 · 埋め込みの動き",
    "baseline": "3 · ベースライン",
    "generate": "3 · 生成",
    "evaluate": "3 · 評価",
    "quantize": "3 · 量子化",
    "finetune": "3 · 微調整",
    "expand": "3 · 拡張",
    "layers": "4 · 層の数",
    "embedding-freeze": "5 · 埋め込みの凍結",
    "two-stage": "6 · 二段階",
}

WORDS = {
    "en": {
        "controls": "Filter and compare",
        "experiment": "Experiment",
        "setting": "Setting",
        "value": "Value",
        "metric": "Metric shown",
        "all": "all",
        "any": "any",
        "none": "none",
        "table": "Entries of the log",
        "choose": "Compare",
        "entry": "Entry",
        "date": "Date",
        "seeds": "Seeds",
        "loss": "Loss",
        "perplexity": "Perplexity",
        "verdicts": "Verdicts",
        "shown": "{shown} of {all} entries",
        "one": "Choose one more entry to compare it with.",
        "show": "Show the comparison",
        "clear": "Choose others",
        "pair": "Two entries side by side",
        "settings": "Settings",
        "metrics": "Metrics that both have",
        "difference": "Difference",
        "differs": "differs",
        "more": "Differences seed by seed, with their interval:",
        "empty": "No entries yet.",
        "feed": "Experiment log",
        "search": "Search",
    },
    "ja": {
        "controls": "絞り込みと比較",
        "experiment": "実験",
        "setting": "設定",
        "value": "値",
        "metric": "表示する指標",
        "all": "すべて",
        "any": "指定なし",
        "none": "なし",
        "table": "実験ログの記録",
        "choose": "比較",
        "entry": "記録",
        "date": "日付",
        "seeds": "シード数",
        "loss": "損失",
        "perplexity": "パープレキシティ",
        "verdicts": "判定",
        "shown": "{all} 件中 {shown} 件",
        "one": "比較する記録をもう一つ選んでください。",
        "show": "比較を表示",
        "clear": "選び直す",
        "pair": "二つの記録の比較",
        "settings": "設定",
        "metrics": "両方にある指標",
        "difference": "差",
        "differs": "異なる",
        "more": "シードごとの差とその区間:",
        "empty": "まだ記録がありません。",
        "feed": "実験ログ",
        "search": "検索",
    },
}
"""The words of the comparison, by language."""


def words(language: str) -> dict[str, str]:
    """Return the words of a language, English where there are none."""
    return WORDS.get(language, WORDS["en"])


def chapter(experiment: str, language: str) -> str:
    """Return what an experiment's chapter is called; an experiment that no chapter knows goes by its own name."""
    return (CHAPTERS_JA if language == "ja" else CHAPTERS).get(experiment, experiment)
