"""Rows and cells of a document by the paths of a source's settings: JMESPath, XPath, CSS selectors, columns.

Paths are compiled once, at the start. The work of a document is bounded: paths from the root are evaluated once, others
within their row, and documents must be small if a path visits siblings or ancestors.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import jmespath
from cssselect import GenericTranslator, HTMLTranslator, SelectorError
from jmespath import functions
from jmespath.exceptions import JMESPathError, LexerError, ParseError

from service.errors import NotUnderstood
from service.settings import SourceSettings
from service.settings.currencies import CODES
from service.settings.types import COLUMNS, after_root
from service.sources import parsing
from service.sources.adapter import RawResponse

MOST_ROWS = 20_000
"""Maximum number of rows in a document: a year of 80 currencies."""
MOST_COLUMNS = 300
"""Maximum number of columns where each may be a currency."""
MOST_ELEMENTS = 5_000
"""Maximum number of elements where a path visits siblings or ancestors: its time grows with their square."""
_ROOT: Final = "$"
"""The beginning of a JMESPath that begins at the root instead of the row."""
_CSS: Final = "css:"
_UNITS: Final = re.compile(r"(?:([0-9]+) ?)?(.*)", re.DOTALL)
"""The name of a column with rates for several units: `100 JPY`, `100JPY`."""
_LITERAL: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_ASIDE: Final = re.compile(r"\.\.|(?:ancestor|parent|(?:preceding|following)-sibling)[a-z-]*\s*::")
"""Steps to ancestors and siblings."""
_COUNTED: Final = re.compile(r"count\((?:preceding|following)-sibling::[\w*-]+\)")
_FAR: Final = re.compile(r"(?:preceding|following)\s*::")
_DOWN_AGAIN: Final = re.compile(rf"(?:{_ASIDE.pattern}).*(?://|descendant)", re.DOTALL)
_ROOT_AGAIN: Final = re.compile(r"(?<![\w\])*./|])\s*/")
_PREDICATE: Final = re.compile(r"\[[^\[\]]*\]")
_CALL: Final = re.compile(r"([A-Za-z][\w.-]*)\s*\(")
_PREFIX: Final = re.compile(r"(?<!:)\b[A-Za-z][\w.-]*:(?!:)")
_XPATH_NAMES: Final = frozenset(
    re.findall(
        r"[\w-]+",
        "last position count id local-name namespace-uri name string concat starts-with contains substring-before "
        "substring-after substring string-length normalize-space translate boolean not true false lang number sum "
        "floor ceiling round text node comment processing-instruction and or div mod",
    )
)
"""What XPath 1.0 has before a parenthesis: functions, tests of nodes, operators."""
_TOKEN: Final = re.compile(r"::|\.\.|[^\W\d][\w.-]*|[\d.]+|\S")
_NO_OPERANDS: Final = frozenset({"(", ",", "::", "@", "/", "|", "=", "!", "<", ">"})
"""Tokens of an XPath after which `*`, `div` and `mod` are names."""
_CALCULATING: Final = frozenset({"number", "sum", "floor", "ceiling", "round"})
_POSITION: Final = "position in substring"
_FIRST_STEP: Final = re.compile(r"/([A-Za-z_][\w.-]*)/")


class _Functions(functions.Functions):
    """The functions of JMESPath, where numbers are text with their published digits."""

    @functions.signature({"types": ["object"]})
    def _func_items(self, members: dict[str, Any]) -> list[list[Any]]:
        """Return the names and values of an object; JMESPath itself loses the names."""
        return [[name, value] for name, value in members.items()]

    @functions.signature({"types": ["string"]})
    def _func_to_string(self, text: str) -> str:
        """Accept only text: a number here was calculated, and may be rounded."""
        return text


_OPTIONS: Final = jmespath.Options(custom_functions=_Functions())


def compile_jmespath(path: str) -> Callable[[object], Any]:
    """Compile a JMESPath; raise `ValueError` if it is invalid or uses an unknown function.

    The compiled path raises `JMESPathError` if it cannot be evaluated.
    """
    try:
        compiled = jmespath.compile(path)
    except LexerError as error:
        raise ValueError(f"is not a JMESPath: unexpected character in column {error.lexer_position + 1}") from None
    except ParseError as error:
        raise ValueError(f"is not a JMESPath: unexpected end or token in column {error.lex_position + 1}") from None
    except JMESPathError:
        raise ValueError("is not a JMESPath") from None
    if unknown := _functions_of(compiled.parsed) - _Functions.FUNCTION_TABLE.keys():
        raise ValueError(f"uses the unknown function {min(unknown)}()")

    def search(value: object) -> Any:  # noqa: ANN401
        try:
            return compiled.search(value, options=_OPTIONS)
        except JMESPathError:
            raise
        except TypeError as error:  # the library leaves it to Python to compare text with a number
            advice = "numbers are text: compare with '0', or write to_number(units) > `0`"
            raise JMESPathError(f"{error}; {advice}") from None
        except (ValueError, ArithmeticError) as error:
            raise JMESPathError(str(error)) from None

    return search


def _functions_of(node: Mapping[str, Any]) -> set[str]:
    """Return the functions in a parsed JMESPath."""
    own = {str(node["value"])} if node["type"] == "function_expression" else set[str]()
    return own.union(*(_functions_of(child) for child in node["children"] if isinstance(child, dict)))


class RootCells:
    """Cells at the root of a document: the same for all rows, so each is read once, even if it cannot be read."""

    def __init__(self) -> None:
        self._read = dict[str, str | NotUnderstood]()

    def read(self, name: str, read: Callable[[], str]) -> str:
        """Return a cell that `read` reads; raise its `NotUnderstood`."""
        if name not in self._read:
            try:
                self._read[name] = read()
            except NotUnderstood as error:
                self._read[name] = error
        found = self._read[name]
        if isinstance(found, NotUnderstood):
            raise found.with_traceback(None)  # which would grow with each row
        return found


class Document(ABC):
    """The document of one response. Cells are named by their settings: `value`, `currency`."""

    rows: Sequence[object]
    width: int = 1
    """Rates per row. Rates are numbered from 0: those of row 2 of a document with a width of 30 from 60 to 89."""
    problems: Sequence[str] = ()
    """Columns that cannot be read."""

    @abstractmethod
    def cell(self, rate: int, name: str) -> str:
        """Return the text of a cell of a rate as published; reject the response if it is missing."""

    @abstractmethod
    def place(self, rate: int, name: str) -> str:
        """Return where in the document a cell is, for people."""


class Paths(ABC):
    """The compiled paths of a source."""

    def __init__(self, source: SourceSettings) -> None:
        """Compile them; raise `ValueError` that begins with the setting of an invalid path."""
        self.source = source
        self.names = source.paths
        self.compiled = {name: self._named(name, path) for name, path in self.names.items()}
        self.rows = self._named("rows", source.rows) if source.rows else None

    def _named(self, name: str, path: str) -> Any:  # noqa: ANN401 - its type depends on the format
        try:
            return self.compile(name, path)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    @abstractmethod
    def compile(self, name: str, path: str) -> Any: ...  # noqa: ANN401

    @abstractmethod
    def open(self, response: RawResponse) -> Document:
        """Parse a response and select its rows."""


class JsonPaths(Paths):
    def compile(self, name: str, path: str) -> Callable[[object], Any]:  # noqa: ARG002
        return compile_jmespath(path.removeprefix(_ROOT).removeprefix(".") or "@" if path[0] == _ROOT else path)

    def open(self, response: RawResponse) -> Document:
        assert self.rows  # noqa: S101 - required by the settings
        root = parsing.json_document(response, self.source.encoding)
        return JsonDocument(self, response, root, selected(response, self.rows, root))


def selected(response: RawResponse, rows: Callable[[object], Any], root: object) -> Sequence[object]:
    """Return the rows that a JMESPath selects."""
    try:
        found = rows(root)
    except JMESPathError as error:
        response.reject(f"lacks rows: {str(error).splitlines()[0]}")
    return found if isinstance(found, list) else response.reject("lacks rows, an array")


class JsonDocument(Document):
    def __init__(self, paths: JsonPaths, response: RawResponse, root: object, rows: Sequence[object]) -> None:
        self._paths, self._response, self._root, self.rows = paths, response, root, rows
        self._at_root = {name for name, path in paths.names.items() if path[0] == _ROOT}
        self._root_cells = RootCells()

    def cell(self, row: int, name: str) -> str:
        if name in self._at_root:
            return self._root_cells.read(name, lambda: self._text(self._root, name, ""))
        return self._text(self.rows[row], name, f" in row {row + 1}")

    def _text(self, context: object, name: str, where: str) -> str:
        try:
            found = self._paths.compiled[name](context)
        except JMESPathError as error:
            self._response.reject(f"lacks {name}{where}: {str(error).splitlines()[0]}")
        if not isinstance(found, str):
            self._response.reject(f"lacks {name}{where}" + ("" if found is None else ": it is no text"))
        return found.strip()

    def place(self, row: int, name: str) -> str:
        path = self._paths.names[name]
        return path if name in self._at_root else f"row {row + 1}, {path}"


class CsvPaths(Paths):
    """Columns by their names; `rows` is a JMESPath over the lines as objects."""

    def __init__(self, source: SourceSettings) -> None:
        super().__init__(source)
        if source.has_columns:
            self.names = self.names | {"value": COLUMNS}

    def compile(self, name: str, path: str) -> object:
        return compile_jmespath(path) if name == "rows" else path

    def open(self, response: RawResponse) -> Document:
        settings = self.source
        columns = [path for path in self.names.values() if not (settings.has_columns and path == COLUMNS)]
        lines = list(parsing.csv_lines(response, *columns, encoding=settings.encoding, delimiter=settings.delimiter))
        rows: Sequence[object] = [row for _, row in lines]
        if self.rows:
            rows = selected(response, self.rows, rows)
        return CsvDocument(self, response, rows, {id(row): number for number, row in lines})


class CsvDocument(Document):
    def __init__(self, paths: CsvPaths, response: RawResponse, rows: Sequence[object], numbers: dict[int, int]) -> None:
        self._paths, self._response, self.rows, self._numbers = paths, response, rows, numbers
        self._columns = list[str]()
        """The names of the columns that are currencies, as published."""
        if paths.source.has_columns and rows:
            self._find_columns(rows[0])

    def _find_columns(self, line: object) -> None:
        source, unknown = self._paths.source, list[str]()
        columns = [column for column in line if column != source.date] if isinstance(line, dict) else []
        if len(columns) > MOST_COLUMNS:
            self._response.reject(f"has more than {MOST_COLUMNS} columns")
        for column in columns:
            code, _ = named(source, column.strip())
            if code in CODES:
                self._columns.append(column)
            elif column.strip() not in ("", *(name for name, code in source.codes.items() if not code)):
                unknown.append(column)  # a line may end with an empty one
        if not self._columns:
            self._response.reject("has no column that is named by a currency")
        self.width = len(self._columns)
        self.problems = [f"has the column {name[:40]!r}, which is named by no currency of ISO 4217" for name in unknown]

    def _column(self, rate: int, name: str) -> str:
        column = self._paths.names[name]
        return self._columns[rate % self.width] if self._columns and column == COLUMNS else column

    def cell(self, rate: int, name: str) -> str:
        row, column = rate // self.width, self._column(rate, name)
        if self._columns and name == "currency":
            return column.strip()
        line = self.rows[row]
        found = line.get(column) if isinstance(line, dict) else None
        if not isinstance(found, str):
            self._response.reject(f"lacks {name} in row {row + 1}")
        return found.strip()

    def place(self, rate: int, name: str) -> str:
        row, column = rate // self.width, self._column(rate, name)
        line = self.rows[row]
        number = self._numbers.get(id(line))
        where = f"line {number}" if number else f"row {row + 1}"
        if self._columns and name == "currency":
            where = "header"
        position = list(line).index(column) + 1 if isinstance(line, dict) else 0
        return f"{where}, column {position} ({column.strip()})"


def named(source: SourceSettings, column: str) -> tuple[str, str]:
    """Return the currency code that a column is named by, or its unknown name, and the nominal of its rates.

    In an inverse quotation the nominal is of the base, which a number beside the currency does not mean.
    """
    if source.direction == "inverse":
        return source.codes.get(column, column), source.nominal
    nominal, name = _UNITS.fullmatch(column).groups()  # type: ignore[union-attr] # it matches any name
    return source.codes.get(column, source.codes.get(name, name)), nominal or source.nominal


def check_xpath(expression: str, *, is_rows: bool = False) -> None:
    """Raise `ValueError` for an XPath that fails only when it is evaluated, or whose time would be unbounded."""
    bare = re.sub(r"\s*\|\s*", "|", _LITERAL.sub("''", expression))
    if unknown := set(_CALL.findall(bare)) - _XPATH_NAMES:
        raise ValueError(f"uses the unknown function {min(unknown)}()")
    if _PREFIX.search(bare) or "$" in bare:
        raise ValueError("has a namespace prefix or a variable; namespaces are ignored, write names without them")
    if _FAR.search(bare):
        raise ValueError(
            "uses preceding:: or following::; only the axes of siblings, ancestors and descendants are allowed"
        )
    rest = after_root(bare)
    if _ROOT_AGAIN.search(bare if rest is None else rest):
        raise ValueError("returns to the root after its beginning")
    parts, outside = list[str](), bare
    while predicates := _PREDICATE.findall(outside):
        parts += predicates
        outside = _PREDICATE.sub("", outside)
    if any(map(_DOWN_AGAIN.search, (*parts, outside))):
        raise ValueError("uses // or descendant:: after a step to siblings or ancestors")
    if any(len(_ASIDE.findall(_COUNTED.sub("", part))) > 1 for part in parts):  # compared, they take the cube
        raise ValueError("has several steps to siblings or ancestors in a predicate [ ]")
    if is_rows and _ASIDE.search(outside):
        raise ValueError("has a step to siblings or ancestors outside of a predicate [ ]")


def check_cell(expression: str) -> None:
    """Raise `ValueError` for the XPath of a cell that calculates a number: it would lose published digits.

    XPath 1.0 calculates with binary fractions. Predicates, and the positions of `substring()`, may be calculated.
    """
    outside = _LITERAL.sub("''", expression)
    while _PREDICATE.search(outside):
        outside = _PREDICATE.sub("", outside)
    calls, name, is_operand = list[str](), "", False  # open parentheses by their functions; the last token
    for part in _TOKEN.findall(outside):
        is_operator = part in "+-" or (is_operand and part in ("*", "div", "mod"))
        calculates = is_operator or (part == "(" and name in _CALCULATING)
        if calculates and _POSITION not in calls:
            raise ValueError(
                f"calculates a number by {part if is_operator else f'{name}()'}, which may lose digits: lead to the "
                "published text, and describe it by nominal, power, decimal_mark and thousands_mark"
            )
        if part == "(":
            calls.append(name)
        elif part == "," and calls and calls[-1] == "substring":
            calls[-1] = _POSITION
        elif part == ")" and calls:
            calls.pop()
        name = part
        is_operand = not is_operator and part not in _NO_OPERANDS and not (is_operand and part in ("and", "or"))


class ElementPaths(Paths):
    """XPath, or CSS selectors, in XML and HTML."""

    def compile(self, name: str, path: str) -> parsing.XPath:
        expression = self._xpath(path)
        check_xpath(expression, is_rows=name == "rows")
        if name != "rows":
            check_cell(expression)
        compiled = parsing.xpath(expression)
        # Two are as wrong as thousands, each of which would be an object.
        return parsing.xpath(f"({expression})[position() <= 2]") if self._has_nodes(name, compiled) else compiled

    @staticmethod
    def _has_nodes(name: str, compiled: parsing.XPath) -> bool:
        return name != "rows" and isinstance(parsing.probe(compiled), list)

    def _xpath(self, path: str) -> str:
        if not path.startswith(_CSS):
            return path
        translator = HTMLTranslator() if self.source.format == "html" else GenericTranslator()
        try:
            return translator.css_to_xpath(path.removeprefix(_CSS).strip())
        except SelectorError as error:
            raise ValueError(f"is not a CSS selector: {error}") from None

    @cached_property
    def _steps_aside(self) -> bool:
        paths = [self._xpath(path) for path in (self.source.rows, *self.names.values())]
        return any(_ASIDE.search(_LITERAL.sub("", path)) for path in paths)

    @cached_property
    def _root(self) -> str:
        """The name of the root element that the path to the rows begins with; any if it does not begin with one."""
        first = _FIRST_STEP.match(self.source.rows)
        return f"{{*}}{first[1]}" if first else "{*}*"

    def open(self, response: RawResponse) -> Document:
        if self.source.format == "html":
            root = parsing.html(response, self.source.encoding)
        else:
            root = parsing.xml(response, self._root, encoding=self.source.encoding)
        root = parsing.without_namespaces(root)
        if self._steps_aside and sum(1 for _ in root.iter()) > MOST_ELEMENTS:
            response.reject(f"has more than {MOST_ELEMENTS} elements, too many for a path to siblings or ancestors")
        assert self.rows  # noqa: S101 - required by the settings
        rows = evaluated(response, self.rows, root, "rows")
        if not isinstance(rows, list) or not all(map(parsing.is_element, rows)):
            response.reject("lacks rows: the path does not lead to elements")
        places = set(rows)
        if any(ancestor in places for row in rows for ancestor in row.iterancestors()):
            response.reject("has a row within another row")
        return ElementDocument(self, response, root, rows)


def evaluated(response: RawResponse, path: parsing.XPath, element: parsing.Element, name: str) -> Any:  # noqa: ANN401
    try:
        return path(element)
    except parsing.XPathError as error:
        response.reject(f"lacks {name}: {error}")


class ElementDocument(Document):
    def __init__(
        self, paths: ElementPaths, response: RawResponse, root: parsing.Element, rows: Sequence[parsing.Element]
    ) -> None:
        self._paths, self._response, self._root, self.rows = paths, response, root, rows
        self._elements = rows
        self._at_root = {name for name, path in paths.names.items() if after_root(path) is not None}
        self._root_cells = RootCells()

    def cell(self, row: int, name: str) -> str:
        if name in self._at_root:
            return self._root_cells.read(name, lambda: self._text(self._root, name, ""))
        return self._text(self._elements[row], name, f" in row {row + 1}")

    def _found(self, context: parsing.Element, name: str, where: str) -> Any:  # noqa: ANN401
        found = evaluated(self._response, self._paths.compiled[name], context, name)
        if isinstance(found, list):
            if len(found) > 1:
                self._response.reject(f"has {name} {len(found)} times{where}")
            found = found[0] if found else None
        return found

    def _text(self, context: parsing.Element, name: str, where: str) -> str:
        found = self._found(context, name, where)
        if parsing.is_element(found):
            read = parsing.page_text if self._paths.source.format == "html" else parsing.content
            return read(self._response, found)
        if not isinstance(found, str):
            self._response.reject(f"lacks {name}{where}" + ("" if found is None else ": it is no text"))
        return str(found).strip()  # a string of its own: that of lxml keeps the whole document

    def place(self, row: int, name: str) -> str:
        context = self._root if name in self._at_root else self._elements[row]
        found = self._found(context, name, "")
        return parsing.element_path(found, context)


FORMATS: Final[dict[str, type[Paths]]] = {
    "json": JsonPaths,
    "csv": CsvPaths,
    "xml": ElementPaths,
    "html": ElementPaths,
}
