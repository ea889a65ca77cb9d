"""What the pages name exists: commands, flags, settings, public names, files, links."""

import ast
import dataclasses
import importlib
import inspect
import re
import tempfile
import tomllib
import typing

import pytest

import dam_tf
from dam_tf.commands import COMMANDS
from dam_tf.config.generators import GENERATORS
from dam_tf.config.methods import METHODS
from dam_tf.config.presets import make_config
from dam_tf.config.settings import Config, from_dict
from dam_tf.data.catalog import lookup
from dam_tf.studies.ablation.ablations import ABLATIONS
from dam_tf.studies.rows import find_rows
from tests.docs import pages

OURS = ("dam_tf", "tools", "tests", "benchmarks", "configs", "examples", "docs")
MAKE = set(re.findall(r"^([\w-]+):", (pages.ROOT / "Makefile").read_text(), re.M))
# What variables of the pages' snippets hold.
HELD = {"distilled": dam_tf.DistilledSet, "result": dam_tf.Evaluation}
OTHERS = {"help", "no-deps", "check"}  # flags of other programs

by_name = pytest.mark.parametrize(
    "page", pages.PAGES, ids=[str(page.relative_to(pages.ROOT)) for page in pages.PAGES]
)


def module(name):
    assert name in COMMANDS, f"{name} is no command"
    return importlib.import_module(f"dam_tf.commands.{name}")


def flags(name):
    return set(re.findall(r"^ +--(?:\[no\])?(\w+):", module(name).OPTIONS.help(), re.M))


def check_command(words):
    """Raises an error if a command of a page names something that is not there."""
    match words:
        case ["source", ".venv/bin/activate"]:
            pass
        case ["make", *targets]:
            assert set(targets) <= MAKE
        case ["python", "-m", "dam_tf", name, *rest]:
            check_arguments(name, rest)
        case ["python", file, *rest] if file.startswith("tools/"):
            assert (pages.ROOT / file).is_file()
            check_arguments(file.removeprefix("tools/").removesuffix(".py"), rest)
        case ["python", file, *rest] if file.endswith("run_program.py"):
            for word in rest:
                assert word.split("=")[0].removeprefix("--") in of_programs()
        case ["benchmarks/accelerator.sh", "prepare" | "run" as verb, *rest]:
            text = sources("benchmarks")
            assert f'add_parser("{verb}"' in text
            for word in rest:
                assert not word.startswith("--") or f'"{word.split("=")[0]}"' in text
        case ["python", file, *rest] if file.startswith("examples/"):
            text = (pages.ROOT / file).read_text(encoding="utf-8")
            for word in rest:
                assert not word.startswith("--") or f'"{word.split("=")[0]}"' in text
        case _:
            raise AssertionError(f"no command that these tests know: {words}")


def check_arguments(name, words):
    options = module(name).OPTIONS
    options.parse(words)  # a `UserError` where a flag is unknown
    if "set" in flags(name):
        config = make_config(overrides=options.overrides())
        lookup(config.dataset.name)
    if name == "ablate":
        assert options.words[0] in {"list", *ABLATIONS}
    if name == "visualize":
        assert callable(getattr(module(name), options.words[0]))


def of_programs():
    """The flags of run_program.py."""
    return set(re.findall(r"flag\(\s*\"--(\w+)\"", sources("dam_tf/exports/program")))


def check_python(text):
    """Raises an error if a snippet does not compile, or uses what dam_tf has not."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ImportFrom(module=str(home)) if home.startswith("dam_tf"):
                for alias in node.names:
                    assert hasattr(importlib.import_module(home), alias.name)
            case ast.Call(func=ast.Attribute() as func):
                if (called := dotted(func)) and called[0] == "dam_tf":
                    given = {one.arg for one in node.keywords}
                    check_keywords(resolve(called[1:]), given)
            case ast.Attribute():
                if (chain := dotted(node)) and chain[0] == "dam_tf":
                    resolve(chain[1:])
                elif chain and chain[0] in HELD:
                    assert has(HELD[chain[0]], chain[1]), ".".join(chain)


def dotted(node):
    """The names of `a.b.c`; None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def resolve(names):
    found = dam_tf
    for name in names:
        assert hasattr(found, name), f"dam_tf has no {'.'.join(names)}"
        found = getattr(found, name)
    return found


def has(kind, name):
    fields = {field.name for field in dataclasses.fields(kind)}
    return name in fields or hasattr(kind, name)


def check_keywords(called, given):
    if own := getattr(called, "Settings", None):  # a method takes its settings
        known = {field.name for field in dataclasses.fields(own)}
    else:
        parameters = inspect.signature(called).parameters.values()
        known = {one.name for one in parameters if one.kind != one.VAR_KEYWORD}
    assert given <= known, f"{called.__name__} takes no {given - known}"


def check_toml(text):
    tables = tomllib.loads(text)
    if {field.name for field in dataclasses.fields(Config)} & tables.keys():
        from_dict(tables)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as plan:
        plan.write(text)
        plan.flush()
        find_rows([], plan=plan.name)


CHECKS = {
    "sh": lambda text: [check_command(words) for words in pages.commands(text)],
    "python": check_python,
    "toml": check_toml,
}


@pytest.mark.parametrize(
    "block",
    [block for page in pages.PAGES for block in pages.blocks(page)],
    ids=lambda block: block.where,
)
def test_a_block_names_what_exists_and_says_whether_it_runs(block):
    assert block.language in pages.LANGUAGES
    assert block.is_marked, "write <!-- run --> or <!-- check only: why --> before it"
    CHECKS[block.language](block.text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "python -m dam_tf distil --ipc=1"),
        ("sh", "python -m dam_tf distill --ipcs=1"),
        ("sh", "python -m dam_tf distill --dataset=cifar11"),
        ("sh", "python -m dam_tf distill --set=network.wide=1"),
        ("sh", "python -m dam_tf ablate pover"),
        ("sh", "python tools/distil.py"),
        ("sh", "python examples/downstream_keras.py --tests=digits.npz"),
        ("sh", "python program/run_program.py --resumes"),
        ("sh", "benchmarks/accelerator.sh run here there --hours=1"),
        ("sh", "make demos"),
        ("sh", "rm -rf runs"),
        ("python", "dam_tf.distil(1)"),
        ("python", "from dam_tf.config.settings import make_configuration"),
        ("python", "distilled.picture"),
        ("python", "dam_tf.make_config(override={})"),
        ("python", "dam_tf.methods.DataDAM(powers=2)"),
        ("python", "print("),
        ("toml", "[distillation]\nipcs = 3"),
    ],
)
def test_a_block_that_names_what_does_not_exist_is_found(language, text):
    with pytest.raises((AssertionError, dam_tf.UserError, OSError, SyntaxError)):
        CHECKS[language](text)


def settings():
    """The keys of each section; those of section `method` are of any method."""
    found = {}
    for name, kind in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(kind):
            kinds = [*METHODS.values(), *GENERATORS.values()]
            kinds = kinds if name == "method" else [kind]
            found[name] = {f.name for one in kinds for f in dataclasses.fields(one)}
    return found


@by_name
def test_settings_in_sentences_exist(page):
    known = settings()
    for span in pages.spans(page):
        if found := re.fullmatch(r"(?:--set[= ])?([a-z]+)\.([a-z_]+)(=.*)?", span):
            section, key, _ = found.groups()
            if section in known and key not in ("jsonl", "py"):  # they are files
                assert key in known[section], span


@by_name
def test_flags_in_sentences_exist(page):
    known = set.union(OTHERS, of_programs(), *map(flags, COMMANDS))
    if page not in pages.GUIDES:
        known |= set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", sources("benchmarks")))
    for span in pages.spans(page):
        for flag in re.findall(r"(?<![\w-])--([a-z0-9_-]+)", span):
            assert flag in known or flag.removeprefix("no") in known, span


@by_name
def test_public_names_and_make_targets_in_sentences_exist(page):
    for span in pages.spans(page):
        if found := re.match(r"dam_tf\.([A-Za-z_.]+)", span):
            resolve(found[1].split("."))
        if found := re.fullmatch(r"make\s+([a-z-]+)", span):
            assert found[1] in MAKE, span
        if page.name == "BUILD.md" and re.fullmatch(r"[A-Z_]{4,}", span):
            assert re.search(rf"\b{span}\b", sources("dam_tf")), span


@by_name
def test_files_in_sentences_exist(page):
    files = [str(file.relative_to(pages.ROOT)) for file in ours()]
    for span in pages.spans(page):
        if "<" in span or not re.fullmatch(r"[\w.*/-]+", span):
            continue
        if span.startswith(tuple(f"{room}/" for room in OURS)):
            assert list(pages.ROOT.glob(span.rstrip("/"))), span
        elif page.name == "BUILD.md" and span.endswith(("/", ".py")):
            pattern = re.escape(span).replace(r"\*", "[^/]*")
            assert any(re.search(rf"(^|/){pattern}", file) for file in files), span


@by_name
def test_links_lead_somewhere(page):
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.headings(target), link


def test_every_guide_is_found_from_both_indexes():
    for index in pages.ROOT / "README.md", pages.ROOT / "docs" / "README.md":
        found = {(index.parent / link.partition("#")[0]) for link in pages.links(index)}
        guides = set((pages.ROOT / "docs").glob("*.md"))
        guides -= {pages.ROOT / "docs" / "README.md"}
        assert guides <= {file.resolve() for file in found}


def ours():
    return (file for room in OURS for file in (pages.ROOT / room).rglob("*.*"))


def sources(room):
    files = (pages.ROOT / room).rglob("*.py")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
