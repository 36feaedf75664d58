"""The hooks of the site, which MkDocs loads by their path and which are no part of the package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOOKS = ROOT / "docs" / "hooks"


def hook(name: str) -> ModuleType:
    """Import ``docs/hooks/<name>.py``, under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(f"llmlab_docs_{name}", HOOKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed: pip install '.[docs]'", allow_module_level=True)
    return module


def on_page(hook: ModuleType, markdown: str, where: str, code: str = "en") -> str:
    """Return a page as a hook hands it on."""
    config = SimpleNamespace(
        config_file_path=str(ROOT / "mkdocs.yml"), docs_dir=str(ROOT / "docs"), theme={"language": code}
    )
    page = SimpleNamespace(file=SimpleNamespace(src_uri=where))
    return str(hook.on_page_markdown(markdown, page=page, config=config, files=None))
