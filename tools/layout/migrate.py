"""Restructure a clean checkout: run with the Python of an environment that has libcst.

    .venv/bin/python migrate.py CHECKOUT [--check]

`--check` only says which modules, tests and files have no place yet.
"""
import ast, fnmatch, re, shutil, subprocess, sys
from collections import defaultdict
from pathlib import Path

import libcst as cst

HERE = Path(__file__).parent
ROOMS = ("harness", "models", "tasks", "ray_jobs", "results")
P = "steereval."
problems, notes = [], []


def lines(name):
    for raw in (HERE / name).read_text().splitlines():
        line = raw.split(" #")[0].strip()
        if line and not line.startswith("#"):
            yield line


def git(*a):
    return subprocess.run(["git", "-C", str(ROOT), *a], check=True, capture_output=True, text=True).stdout


# ---------------------------------------------------------------- what there is, and where it goes
def dotted(path):
    parts = list(Path(path).with_suffix("").parts)
    if parts[0] == "harness":
        parts = parts[1:]
    if parts and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(["steereval", *parts])


def file_of(module, package=False):
    parts = module.split(".")[1:]
    if parts and parts[0] == "common":
        base = Path("src/steereval")
    else:
        base = Path()
    if not parts:
        return "src/steereval/__init__.py"
    p = base.joinpath(*parts)
    return str(p / "__init__.py" if package else p.with_suffix(".py"))


def plan(tracked):
    exact, wild = {}, []
    for line in lines("modules.txt"):
        old, new = (s.strip() for s in line.split("->"))
        old = old.rstrip("?")
        if old.endswith(".*"):
            wild.append((P + old[:-2], P + new[:-2]))
        else:
            exact[P + old] = P + new
    mod, packages = {}, {"steereval": "steereval", "steereval.results.report": "steereval.results.report"}
    for path in tracked:
        top = path.split("/")[0]
        if top not in ROOMS or not path.endswith(".py"):
            continue
        m = dotted(path)
        if path.endswith("__init__.py"):
            new = packages.get(m) or (m if m.count(".") == 1 else None)
            new = new or next((n for o, n in wild if o == m), None)
            if new is None:
                problems.append(f"package without a place: {path}")
                continue
            packages[m] = new
            continue
        new = exact.get(m)
        if new is None:
            for o, n in wild:
                if m.startswith(o + ".") and "." not in m[len(o) + 1:]:
                    new = n + m[len(o):]
                    break
        if new is None:
            problems.append(f"module without a place (modules.txt): {path}")
            continue
        mod[m] = new
    files = {}
    for path in tracked:
        top = path.split("/")[0]
        if top in ROOMS and path.endswith(".py"):
            m = dotted(path)
            if path.endswith("__init__.py"):
                if m in packages:
                    files[path] = file_of(packages[m], True)
            elif m in mod:
                files[path] = file_of(mod[m])
    data = [tuple(s.strip() for s in line.split("->")) for line in lines("data.txt")]
    for path in tracked:
        if path in files or (path.split("/")[0] not in (*ROOMS, "build_backend")):
            continue
        for old, new in data:
            if old == path:
                files[path] = new
            elif old.endswith("/") and path.startswith(old):
                files[path] = new + path[len(old):]
        if path not in files and path.split("/")[0] in ROOMS:
            problems.append(f"file without a place (data.txt): {path}")
    tests = [tuple(s.strip() for s in line.split("->")) for line in lines("tests.txt")]
    for path in tracked:
        if not path.startswith("tests/"):
            continue
        rest = path[6:]
        for old, new in tests:
            if fnmatch.fnmatch(rest, old.rstrip("?")):
                name = Path(rest).name
                files[path] = "tests/" + (new + name if new.endswith("/") else new)
                break
        else:
            problems.append(f"test without a place (tests.txt): {path}")
    return mod, packages, files


# ---------------------------------------------------------------- moving definitions
def top_names(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def used_names(nodes):
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def import_lines(tree):
    """{local name: import statement} of the module's top level, TYPE_CHECKING included."""
    out = {}
    body = list(tree.body)
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            body += node.body
    for node in body:
        if isinstance(node, ast.Import):
            for a in node.names:
                out[a.asname or a.name.split(".")[0]] = ast.unparse(ast.Import([a]))
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for a in node.names:
                out[a.asname or a.name] = ast.unparse(ast.ImportFrom(node.module, [a], 0))
    return out


def move_definitions(src, mod):
    """src: {old module: text}. Returns {(old module, name): old module now}."""
    moved = {}
    inverse = {new: old for old, new in mod.items()}
    docs = dict(line.split(": ", 1) for line in lines("packages.txt"))
    orders = defaultdict(list)
    for line in lines("moves.txt"):
        replace = line.endswith("!")
        left, new = (s.strip() for s in line.rstrip("! ").split("->"))
        old, names = (s.strip() for s in left.split(":"))
        if old.endswith("?"):
            old = old[:-1]
            if P + old not in src:
                continue
        new = P + new
        target = inverse.get(new, new)
        if target == new:
            mod[new] = new
        for name in names.split():
            orders[P + old].append((name.rstrip("?"), name.endswith("?"), target, replace))
    for old, wanted in orders.items():
        if old not in src:
            problems.append(f"moves.txt: no module {old}")
            continue
        text = src[old]
        tree = ast.parse(text)
        rows = text.splitlines(keepends=True)
        where = {name: (i, node) for i, node in enumerate(tree.body) for name in top_names(node)}
        # Helpers that nothing else uses go along.
        again = True
        while again:
            again = False
            going = {name: (target, replace) for name, _, target, replace in wanted}
            rest_names = used_names([n for n in tree.body if not any(t in going for t in top_names(n))])
            for name, (target, replace) in list(going.items()):
                if name not in where:
                    continue
                for helper in sorted(used_names([where[name][1]]) & where.keys() - going.keys()):
                    if helper not in rest_names:
                        wanted.append((helper, True, target, replace))
                        notes.append(f"moves.txt: {helper} goes with {name} of {old}")
                        again = True
                        break
                if again:
                    break
        cut, parts = [], defaultdict(list)
        for name, optional, target, replace in wanted:
            if name not in where:
                if not optional:
                    problems.append(f"moves.txt: {old} has no {name}")
                continue
            i, node = where[name]
            start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            while start > 1 and rows[start - 2].startswith("#"):
                start -= 1
            end = node.end_lineno
            extra = []
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and i + 1 < len(tree.body):
                after = tree.body[i + 1]
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                    end = after.end_lineno
            parts[target].append((start, end, node, name, replace))
            cut.append((start, end))
            moved[old, name] = target
        rest = [n for n in tree.body if not any(a <= n.lineno <= b or a <= n.end_lineno <= b for a, b in cut)]
        imports = import_lines(tree)
        local = {n for node in tree.body for n in top_names(node)}
        for target, items in parts.items():
            items.sort(key=lambda item: item[0])
            code = "\n\n".join("".join(rows[a - 1:b]).rstrip() + "\n" for a, b, *_ in items)
            names = {name for *_, name, _ in items}
            needs = used_names([n for _, _, n, _, _ in items])
            head = [imports[n] for n in sorted(needs & imports.keys())]
            for n in sorted((needs & local) - names):
                home = moved.get((old, n)) or next((t for (w, o, t, r) in wanted if w == n), None)
                if home is None:
                    problems.append(f"moves.txt: {', '.join(sorted(names))} of {old} needs {n}, which stays")
                else:
                    head.append(f"from {home} import {n}")
            if target not in src:
                key = target.removeprefix(P)
                doc = docs.get(key)
                if doc is None:
                    problems.append(f"packages.txt: no docstring of the new module {key}")
                src[target] = f'"""{doc}"""\n\nfrom __future__ import annotations\n\n'
            there = src[target]
            tt = ast.parse(there)
            trows = there.splitlines(keepends=True)
            drop = []
            for node in tt.body:
                if any(n in names for n in top_names(node)) and items[0][4]:
                    drop.append((node.lineno, node.end_lineno))
                if isinstance(node, ast.ImportFrom) and node.module == old:
                    kept = [a for a in node.names if a.name not in names]
                    drop.append((node.lineno, node.end_lineno))
                    if kept:
                        head.append(ast.unparse(ast.ImportFrom(old, kept, 0)))
            for a, b in drop:
                for k in range(a - 1, b):
                    trows[k] = ""
            there = "".join(trows)
            at = 0
            for node in ast.parse(there).body:
                if isinstance(node, (ast.Import, ast.ImportFrom)) or (
                    isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                ):
                    at = node.end_lineno
                else:
                    break
            trows = there.splitlines(keepends=True)
            new = "".join(trows[:at]) + "\n" + "\n".join(head) + "\n" + "".join(trows[at:]).rstrip() + "\n\n\n" + code
            new = "\n".join(l for l in new.split("\n") if not (l.startswith(f"from {target} import")))
            src[target] = new
        gone = set()
        for a, b in cut:
            gone |= set(range(a - 1, b))
        left = "".join(r for k, r in enumerate(rows) if k not in gone)
        still = used_names(rest)
        back = [f"from {moved[old, n]} import {n}" for n in (w[0] for w in wanted) if n in still and (old, n) in moved]
        if back:
            at = 0
            for node in ast.parse(left).body:
                if isinstance(node, (ast.Import, ast.ImportFrom)) or (
                    isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                ):
                    at = node.end_lineno
                else:
                    break
            lrows = left.splitlines(keepends=True)
            left = "".join(lrows[:at]) + "\n".join(back) + "\n" + "".join(lrows[at:])
        src[old] = left
    return moved


# ---------------------------------------------------------------- resolving names
class Names:
    def __init__(self, mod, packages, moved, renames, src):
        self.mod, self.packages, self.moved, self.renames = mod, packages, moved, renames
        self.all = {**packages, **mod}
        self.binds = {}
        for m, text in src.items():
            tree = ast.parse(text)
            self.binds[m] = {n for node in tree.body for n in top_names(node)} | (
                set(import_lines(tree)) & used_names([tree])
            )

    def symbol(self, module, name):
        home = module
        while (home, name) in self.moved and self.moved[home, name] != home:
            home = self.moved[home, name]
        new = self.renames.get((home, name)) or self.renames.get((module, name)) or name
        return self.all[home], new

    def imported(self, module, name):
        """(new module, new name, whether it is a module) of `from module import name`."""
        if f"{module}.{name}" in self.mod or (f"{module}.{name}" in self.packages and module != "steereval"):
            new = self.all[f"{module}.{name}"]
            return (*new.rsplit(".", 1), True)
        if f"{module}.{name}" in self.packages:
            return (*self.all[f"{module}.{name}"].rsplit(".", 1), True)
        if module in self.all:
            return (*self.symbol(module, name), False)
        return None

    def dotted(self, text):
        """A dotted reference in a string, longest module first."""
        parts = text.split(".")
        for n in range(len(parts), 0, -1):
            head = ".".join(parts[:n])
            if head == "steereval" or head not in self.all:
                continue
            rest = parts[n:]
            if not rest:
                return self.all[head]
            name = rest[0]
            if head in self.mod and name not in self.binds.get(head, ()):
                for (m, moved_name), target in self.moved.items():
                    if m == head and (moved_name == name or name in self.binds.get(target, ())):
                        new = self.renames.get((target, name), self.renames.get((m, name), name))
                        return ".".join([self.all[target], new, *rest[1:]])
            new = self.renames.get((head, name), name)
            target = self.moved.get((head, name))
            if target:
                new = self.renames.get((target, name), new)
            return ".".join([self.all[head], new, *rest[1:]])
        return text


FROM = re.compile(r"(?P<lead>^[ \t]*|)from (?P<m>steereval[\w.]*) import (?:\((?P<many>[^()]*)\)|(?P<few>\w+(?: as \w+)?(?:, *\w+(?: as \w+)?)*))", re.M)
DOTTED = re.compile(r"(?<![\w/.-])steereval(?:\.[A-Za-z_]\w*)+")


def in_text(text, names, paths, where=""):
    marks = []

    def keep(s):
        marks.append(s)
        return f"\0{len(marks) - 1}\0"

    def from_import(m):
        found = defaultdict(list)
        items = [i.strip() for i in re.sub(r"\s+", " ", (m["many"] or m["few"])).split(",") if i.strip()]
        for item in items:
            name, _, alias = item.partition(" as ")
            got = names.imported(m["m"], name)
            if got is None:
                return m[0]
            mod_, new, _ = got
            alias = alias or (name if new != name else "")
            found[mod_].append(f"{new} as {alias}" if alias and alias != new else new)
            if alias and alias == name and new != name:
                notes.append(f"{where}: `{new} as {name}` in a string or a page, to be renamed by hand")
        start = m.start()
        whole = m["lead"] or (start == 0 or m.string[start - 1] == "\n")
        out = [f"from {a} import {', '.join(b)}" for a, b in found.items()]
        joined = ("\n" + m["lead"]).join(out) if whole else "; ".join(out)
        return keep(m["lead"] + joined)

    text = FROM.sub(from_import, text)
    text = text.replace("-m steereval.cli", "-m steereval")
    text = DOTTED.sub(lambda m: keep(names.dotted(m[0])), text)
    text = PATHS.sub(lambda m: paths.get(m[0], m[0]), text)
    for old, new in names.backticked.items():
        text = re.sub(rf"`{old}\b", f"`{new}", text)
    return re.sub("\0(\\d+)\0", lambda m: marks[int(m[1])], text)


PATHS = re.compile(r"(?<![\w/.-])(?:harness|models|tasks|results|ray_jobs|tests|build_backend)/[\w./-]*\w")


# ---------------------------------------------------------------- rewriting a Python file
def bound_otherwise(tree):
    """Names that something other than an import binds, anywhere in the file."""
    out = set()
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load):
            out.add(n.id)
        elif isinstance(n, ast.arg):
            out.add(n.arg)
        elif isinstance(n, ast.ExceptHandler) and n.name:
            out.add(n.name)
        elif isinstance(n, (ast.Global, ast.Nonlocal)):
            out.update(n.names)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            if isinstance(node, ast.ClassDef):
                continue
            for child in node.body:
                if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                    out.add(child.name)
    return out


def every_name(tree):
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        (a.asname or a.name.split(".")[0])
        for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names
    }


class Rewriter(cst.CSTTransformer):
    def __init__(self, old_path, module, text, names, paths, members):
        self.where, self.module, self.n, self.paths = old_path, module, names, paths
        tree = ast.parse(text)
        other, every = bound_otherwise(tree), every_name(tree)
        own = {n for node in tree.body for n in top_names(node)}
        self.local, self.modules, self.alias = {}, {}, {}
        self.members = {o: (n, plus) for o, n, pats, plus in members if not pats or any(fnmatch.fnmatch(old_path, p) for p in pats)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("steereval"):
                continue
            for a in node.names:
                got = names.imported(node.module, a.name)
                if got is None:
                    problems.append(f"{old_path}:{node.lineno}: nothing known of {node.module}.{a.name}")
                    continue
                newmod, new, is_module = got
                local = a.asname or a.name
                if is_module:
                    self.modules[local] = f"{node.module}.{a.name}"
                if a.asname or new == a.name:
                    continue
                if a.name in other or new in other | every:
                    self.alias[node.module, a.name] = a.name
                    notes.append(f"{old_path}: `{new} as {a.name}`: the name is taken, rename by hand")
                else:
                    self.local[a.name] = new
        for name in own:
            new = names.renames.get((module, name))
            if new is None:
                continue
            others = bound_otherwise(ast.Module([n for n in tree.body if name not in top_names(n)], []))
            inner = ast.Module([c for n in tree.body if name in top_names(n) for c in getattr(n, "body", [])], [])
            if name in others | bound_otherwise(inner) or new in every:
                problems.append(f"{old_path}: {name} -> {new}: one of the names stands for something else too")
            self.local[name] = new
        self.skip = 0
        self.all_depth = 0

    # imports -------------------------------------------------------------
    def visit_ImportFrom(self, node):
        self.skip += 1
        return False

    def leave_ImportFrom(self, old, new):
        self.skip -= 1
        return new

    def visit_Import(self, node):
        return False

    def leave_Import(self, old, new):
        out = []
        for a in new.names:
            name = a.evaluated_name
            if name.startswith("steereval.") and name in self.n.all and self.n.all[name] != name:
                if not a.asname:
                    notes.append(f"{self.where}: import {name}: check its uses by hand")
                a = a.with_changes(name=cst.parse_expression(self.n.all[name]))
            out.append(a)
        return new.with_changes(names=out)

    def leave_SimpleStatementLine(self, old, new):
        if len(new.body) != 1 or not isinstance(new.body[0], cst.ImportFrom):
            return new
        node = new.body[0]
        if node.module is None or node.relative or isinstance(node.names, cst.ImportStar):
            return new
        module = cst.Module([]).code_for_node(node.module)
        if module.split(".")[0] != "steereval":
            return new
        found = defaultdict(list)
        for a in node.names:
            name = a.evaluated_name
            got = self.n.imported(module, name)
            if got is None:
                return new
            newmod, newname, _ = got
            asname = a.evaluated_alias or self.alias.get((module, name))
            found[newmod].append((newname, asname if asname != newname else None))
        if self.module in self.n.all:
            found.pop(self.n.all[self.module], None) if self.module in self.n.mod else None
        out = []
        for i, (m, items) in enumerate(sorted(found.items())):
            text = f"from {m} import " + ", ".join(f"{x} as {y}" if y else x for x, y in items) + "\n"
            line = cst.parse_statement(text)
            if i == 0:
                line = line.with_changes(leading_lines=new.leading_lines)
            if new.trailing_whitespace.comment:
                line = line.with_changes(trailing_whitespace=new.trailing_whitespace)
            out.append(line)
        return cst.FlattenSentinel(out) if out else cst.RemoveFromParent()

    # names ---------------------------------------------------------------
    def visit_Attribute(self, node):
        return True

    def leave_Attribute(self, old, new):
        attr = old.attr.value
        value = old.value
        if isinstance(value, cst.Name) and value.value in self.modules:
            home = self.modules[value.value]
            if home in self.n.mod:
                target, name = self.n.symbol(home, attr)
                if target != self.n.all[home] and attr in self.n.binds[home]:
                    return new.with_changes(attr=old.attr)
                if target != self.n.all[home]:
                    problems.append(f"{self.where}: {value.value}.{attr} has moved to {target}")
                return new.with_changes(attr=cst.Name(name))
        got = self.members.get(attr)
        if got and not (attr in ("lower", "upper") and id(old) in self.calls):
            return new.with_changes(attr=cst.Name(got[0]))
        return new.with_changes(attr=old.attr)

    def visit_Call(self, node):
        if isinstance(node.func, cst.Attribute):
            self.calls.add(id(node.func))
        return True

    def leave_Call(self, old, new):
        # monkeypatch.setattr(module, "name", ...) of a name that the module does not hold any more
        f, args = old.func, old.args
        if not (isinstance(f, cst.Attribute) and f.attr.value in ("setattr", "delattr", "object") and len(args) >= 2):
            return new
        target, name = args[0].value, args[1].value
        if not (isinstance(target, cst.Name) and target.value in self.modules and isinstance(name, cst.SimpleString)):
            return new
        home, attr = self.modules[target.value], name.value[1:-1]
        if home not in self.n.mod:
            return new
        if attr in self.n.binds[home] and (home, attr) not in self.n.renames:
            return new
        full = self.n.dotted(f"{home}.{attr}")
        module, attr = full.rsplit(".", 1)
        if module == self.n.all[home]:
            return new.with_changes(args=[new.args[0], new.args[1].with_changes(value=cst.SimpleString(f'"{attr}"')), *new.args[2:]])
        if f.attr.value == "object":
            problems.append(f"{self.where}: patch.object({target.value}, {attr!r}): it is in {module} now")
            return new
        return new.with_changes(args=[new.args[1].with_changes(value=cst.SimpleString(f'"{full}"')), *new.args[2:]])

    calls: set = set()

    def leave_Arg(self, old, new):
        if old.keyword is None:
            return new
        got = self.members.get(old.keyword.value)
        return new.with_changes(keyword=cst.Name(got[0]) if got else old.keyword)

    def leave_Param(self, old, new):
        name = old.name
        got = self.members.get(name.value)
        if got and got[1]:
            return new.with_changes(name=cst.Name(got[0]))
        return new.with_changes(name=name)

    def leave_AnnAssign(self, old, new):
        if isinstance(old.target, cst.Name) and old.target.value in self.members and self.in_class:
            return new.with_changes(target=cst.Name(self.members[old.target.value][0]))
        return new

    in_class = 0
    depth = ()

    def visit_ClassDef(self, node):
        self.depth = (*self.depth, "class")
        self.in_class = True

    def leave_ClassDef(self, old, new):
        self.depth = self.depth[:-1]
        self.in_class = bool(self.depth and self.depth[-1] == "class")
        return new

    def visit_FunctionDef(self, node):
        self.depth = (*self.depth, "def")
        self.in_class = False

    def leave_FunctionDef(self, old, new):
        self.depth = self.depth[:-1]
        self.in_class = bool(self.depth and self.depth[-1] == "class")
        name = old.name.value
        got = self.members.get(name)
        if self.in_class:
            return new.with_changes(name=cst.Name(got[0]) if got else old.name)
        return new

    def leave_Name(self, old, new):
        if self.skip:
            return new
        got = self.members.get(old.value)
        if got and got[1]:
            return new.with_changes(value=got[0])
        return new.with_changes(value=self.local[old.value]) if old.value in self.local else new

    # strings and comments --------------------------------------------------
    def leave_SimpleString(self, old, new):
        value = old.value
        if value in ('"steereval.cli"', "'steereval.cli'"):
            return new.with_changes(value='"steereval"')
        if value[1:-1] in self.local and value[0] in "\"'" and self.all_depth:
            return new.with_changes(value=f'"{self.local[value[1:-1]]}"')
        return new.with_changes(value=in_text(value, self.n, self.paths, self.where))

    def leave_FormattedStringText(self, old, new):
        return new.with_changes(value=in_text(old.value, self.n, self.paths, self.where))

    def leave_Comment(self, old, new):
        return new.with_changes(value=in_text(old.value, self.n, self.paths, self.where))

    def visit_Assign(self, node):
        t = node.targets[0].target
        if isinstance(t, cst.Name) and t.value == "__all__":
            self.all_depth += 1

    def leave_Assign(self, old, new):
        t = old.targets[0].target
        if isinstance(t, cst.Name) and t.value == "__all__":
            self.all_depth -= 1
        return new


def read_members():
    for line in lines("members.txt"):
        left, _, files = line.partition(" : ")
        old, new = (s.strip() for s in left.split("->"))
        plus = new.endswith("+names")
        yield old, new.replace("+names", "").strip(), files.split(), plus


def main():
    global ROOT
    ROOT = Path(sys.argv[1]).resolve()
    if git("status", "--porcelain").strip() and "--check" not in sys.argv:
        sys.exit("the checkout is not clean")
    tracked = git("ls-files").split("\n")[:-1]
    mod, packages, files = plan(tracked)
    text_of = {}
    module_of = {}
    for path in tracked:
        if path.endswith(".py"):
            text_of[path] = (ROOT / path).read_text(encoding="utf-8")
            if path.split("/")[0] in ROOMS:
                module_of[path] = dotted(path)
    src = {module_of[p]: text_of[p] for p in module_of if module_of[p] in mod}
    before = set(src)
    moved = move_definitions(src, mod)
    renames = {}
    for line in lines("renames.txt"):
        left, new = (s.strip() for s in line.split("->"))
        m, name = (s.strip() for s in left.split(" : "))
        home = moved.get((P + m, name), P + m)
        if home not in src or name not in {n for node in ast.parse(src[home]).body for n in top_names(node)}:
            notes.append(f"renames.txt: {m} has no {name} (any more)")
            continue
        renames[P + m, name] = renames[home, name] = new
    if problems or "--check" in sys.argv:
        print("\n".join(problems) or "every file has a place")
        sys.exit(bool(problems))
    names = Names(mod, packages, moved, renames, src)
    count = defaultdict(set)
    for (m, o), n in renames.items():
        count[o].add(n)
    names.backticked = {o: next(iter(n)) for o, n in count.items() if len(n) == 1 and (o[0].isupper() or "_" in o) and o not in ("Place", "Grid")}
    paths = dict(files)
    members = list(read_members())
    out = {}
    for m in src:
        if m in before:
            path = next(p for p, x in module_of.items() if x == m and not p.endswith("__init__.py"))
        else:
            path = file_of(m)
        text_of[path] = src[m]
        module_of[path] = m
        files.setdefault(path, file_of(mod[m]))
    for path, text in sorted(text_of.items()):
        if path in ("harness/__init__.py",) or path.endswith("_steereval_hook.py"):
            continue
        module = module_of.get(path)
        Rewriter.calls = set()
        tree = cst.parse_module(text)
        try:
            new = tree.visit(Rewriter(path, module, text, names, paths, members)).code
        except Exception as error:
            raise RuntimeError(path) from error
        target = files.get(path, path)
        if path.startswith("tests/"):
            delta = target.count("/") - path.count("/")
            new = re.sub(r"Path\(__file__\)\.parents\[(\d+)\]", lambda m: f"Path(__file__).parents[{int(m[1]) + delta}]", new)
        out[target] = new
    for path in tracked:
        if Path(path).suffix in (".md", ".yaml", ".toml", ".sh", ".j2", ".in") or path.endswith(".ci/run"):
            if path == "pyproject.toml":
                continue
            text = (ROOT / path).read_text(encoding="utf-8")
            new = in_text(text, names, paths, path)
            if new != text:
                out[files.get(path, path)] = new
    if problems:
        print("\n".join(problems))
        sys.exit(1)
    # git mv, then content
    for old, new in sorted(files.items()):
        if old != new and (ROOT / old).exists():
            (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
    swaps = [(o, n) for o, n in files.items() if o != n and (ROOT / o).exists()]
    for i, (o, n) in enumerate(swaps):  # by way of a name of its own: some new names are old ones
        git("mv", o, f".move-{i}")
    for i, (o, n) in enumerate(swaps):
        (ROOT / n).parent.mkdir(parents=True, exist_ok=True)
        git("mv", f".move-{i}", n)
    for path, text in out.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for line in lines("packages.txt"):
        key, doc = line.split(": ", 1)
        folder = Path(file_of(P + key, True))
        if (ROOT / folder).parent.is_dir() and not (ROOT / folder).exists():
            (ROOT / folder).write_text(f'"""{doc}"""\n')
    for room in ROOMS:
        link = ROOT / "src/steereval" / room
        if not link.is_symlink():
            link.symlink_to(f"../../{room}")
    import patches
    patches.apply(ROOT, notes)
    for folder in sorted({p for p in ROOT.glob("*/**/") if p.is_dir()}, reverse=True):
        if ".venv" not in folder.parts and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    git("add", "-A")
    print("\n".join(f"note: {n}" for n in dict.fromkeys(notes)))


if __name__ == "__main__":
    main()
