"""Several modules as one file, which can be copied anywhere and read from its top."""

import ast
import pathlib
from collections.abc import Sequence


def joined(main: pathlib.Path, parts: Sequence[pathlib.Path]) -> str:
    """Returns the text of one file that does what `main` does.

    Args:
        main: What is run; its docstring is that of the file, and what it does comes
            last.
        parts: What it imports, by names of its own folder; each after those that it
            imports itself.

    Raises:
        ValueError: two of the modules give one name to different things.
    """
    docstring = ast.get_docstring(ast.parse(main.read_text(encoding="utf-8")), False)
    imports, names, bodies = set(), set(), []
    package = parts[0].parent.name
    for path in (*parts, main):
        text = path.read_text(encoding="utf-8")
        lines, tree = text.splitlines(), ast.parse(text)
        told = ast.get_docstring(tree) or ""
        for node in ast.walk(tree):  # own imports, which may stand in a block
            if isinstance(node, ast.ImportFrom) and _is_own(node, package):
                _drop(lines, node)
        for node in tree.body:
            own = _names(node)
            if twice := own & names:
                raise ValueError(f"{path}: {sorted(twice)[0]} is defined twice")
            names |= own
            heading = isinstance(node, ast.Expr) and node is tree.body[0]
            if heading or isinstance(node, (ast.Import, ast.ImportFrom)):
                if not heading and not _is_own(node, package):
                    imports.add(ast.unparse(node))
                _drop(lines, node)
        body = "\n".join(line for line in lines if line is not None).strip("\n")
        rule = f"# {path.stem}: {told.splitlines()[0]}\n\n" if path != main else ""
        bodies.append(f"{rule}{body}\n")
    head = f'"""{docstring}"""\n\n' + "\n".join(sorted(imports, key=_place))
    return "\n\n\n".join([head, *(body.rstrip("\n") for body in bodies)]) + "\n"


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {
        one.id
        for target in targets
        for one in ast.walk(target)
        if isinstance(one, ast.Name)
    }


def _drop(lines: list[str | None], node: ast.stmt) -> None:
    for number in range(node.lineno - 1, node.end_lineno):
        lines[number] = None


def _is_own(node: ast.Import | ast.ImportFrom, package: str) -> bool:
    """Whether an import is of one of the parts."""
    module = getattr(node, "module", None) or ""
    return getattr(node, "level", 0) > 0 or module.split(".")[0] == package


def _place(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line
