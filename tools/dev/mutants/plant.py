"""Plants all mutants into a copy of the tree at once: each site becomes a choice at run time.

    if (started <= shut_at_ || …)
    if ((FORBEAR_MUTANT(17) ? (started < shut_at_) : (started <= shut_at_)) || …)

So one build holds all of them, and an environment variable says which one is alive.
What does not fit this is rewritten on the way: a constexpr that a choice would break is
taken away.
"""
import collections
import re

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<text>(?:u8|[uUL])?R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"
          |'(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|'?[\w.])*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<op><<=|>>=|\.\.\.|::|->|\+\+|--|<<|&&|\|\||<=|>=|==|!=|\+=|-=|\*=|/=|%=|&=|\|=|\^=|.)""",
    re.VERBOSE | re.DOTALL)

Token = collections.namedtuple("Token", "text kind start end")


def tokens_of(text):
    found = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip" and not match.group("skip"):
            kind = next(k for k in ("text", "number", "word", "op") if match.group(k) is not None)
            found.append(Token(match.group(), kind, match.start(), match.end()))
    return found


class Stale(Exception):
    """The code that a mutant names is not there (any more), or more than once."""


# ---- finding the site


def occurrences(tokens, wanted, begin, end):
    size = len(wanted)
    return [i for i in range(begin, end - size + 1)
            if tokens[i].text == wanted[0] and [t.text for t in tokens[i:i + size]] == wanted]


def closing(tokens, opening):
    """The index behind the bracket that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(tokens)):
        if tokens[i].text in ("(", "[", "{"):
            depth += 1
        elif tokens[i].text in (")", "]", "}"):
            depth -= 1
            if depth == 0:
                return i + 1
    raise Stale("the brackets do not match")


def find(tokens, at, original):
    """(first, last + 1) of the one occurrence, or Stale."""
    wanted = [t.text for t in tokens_of(original)]
    begin, end = 0, len(tokens)
    if at:
        context = [t.text for t in tokens_of(at)]
        places = occurrences(tokens, context, 0, len(tokens))
        if len(places) != 1:
            raise Stale("%s: `%s`" % ("not there" if not places else "there %d times" % len(places), at))
        begin, end = places[0], places[0] + len(context)
        opened = [i for i in range(begin, end) if tokens[i].text == "{" and closing(tokens, i) > end]
        if opened:
            end = closing(tokens, opened[-1])
        elif not occurrences(tokens, wanted, begin, end):
            brace = end - 1
            while brace < len(tokens) and tokens[brace].text != "{":
                if tokens[brace].text == ";":
                    raise Stale("not in `%s`, after which no block begins: `%s`" % (at, original))
                brace += 1
            if brace == len(tokens):
                raise Stale("no block after `%s`" % at)
            end = closing(tokens, brace)
    places = occurrences(tokens, wanted, begin, end)
    if len(places) != 1:
        raise Stale("%s: `%s`%s" % ("not there" if not places else "there %d times" % len(places), original,
                                    " in `%s`" % at if at else ""))
    return places[0], places[0] + len(wanted)


# ---- may it be cut out there?

_BINARY = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "<": 7, ">": 7, "<=": 7, ">=": 7,
           "==": 6, "!=": 6, "&": 5, "^": 4, "|": 3, "&&": 2, "||": 1, "?": 0, ":": 0, "=": 0}
_ATOM, _UNARY, _POSTFIX = 12, 11, 13
_NO_OPERAND = ("return", "case", "else", "throw", "new", "delete", "sizeof")


def template_end(tokens, i):
    """Behind `<…>` at i, if these are the arguments of a template that is called or named; else None."""
    if i == 0 or tokens[i - 1].kind != "word":
        return None
    depth = 0
    for j in range(i, len(tokens)):
        text = tokens[j].text
        if text == "<":
            depth += 1
        elif text == ">":
            depth -= 1
            if depth == 0:
                after = tokens[j + 1].text if j + 1 < len(tokens) else ""
                return j + 1 if after in ("(", "::", "{") else None
        elif tokens[j].kind == "op" and text not in ("::", ",", "*", "&"):
            return None
    return None


def is_operand(token):
    return (token.kind in ("number", "text") or (token.kind == "word" and token.text not in _NO_OPERAND) or
            token.text in (")", "]"))


def loosest(tokens):
    """How tightly the loosest operator binds that is outside of all brackets."""
    least, depth, i = _ATOM, 0, 0
    while i < len(tokens):
        text = tokens[i].text
        if text in ("(", "[", "{"):
            depth += 1
        elif text in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and text == "<" and template_end(tokens, i):
            i = template_end(tokens, i)
            continue
        elif depth == 0 and text in _BINARY:
            binary = i > 0 and is_operand(tokens[i - 1])
            least = min(least, _BINARY[text] if binary else _UNARY)
        elif depth == 0 and text in ("!", "~"):
            least = min(least, _UNARY)
        i += 1
    return least


def is_statement(text):
    """Whether it ends as one; `T{1}` is an expression."""
    if not text.endswith("}"):
        return text.endswith(";")
    tokens = tokens_of(text)
    depth = 0
    for i in range(len(tokens) - 1, -1, -1):
        depth += (tokens[i].text == "}") - (tokens[i].text == "{")
        if depth == 0:
            return i == 0 or tokens[i - 1].text in (")", "else", ";", "{", "}")
    return True


def check_cut(tokens, first, last, original):
    """Stale, if what is cut out is not a whole expression or whole statements."""
    before = tokens[first - 1] if first else Token(";", "op", 0, 0)
    after = tokens[last] if last < len(tokens) else Token(";", "op", 0, 0)
    if is_statement(original):
        if before.text not in (";", "{", "}", ")", ":", "else") or after.text == "else":
            raise Stale("no whole statement: `%s`" % original)
        return
    inside = loosest(tokens[first:last])
    left = right = -1
    if before.text in (".", "->", "::", ")", "]"):
        left = _POSTFIX
    elif before.text in _BINARY:
        left = _BINARY[before.text] if is_operand(tokens[first - 2]) or before.text in ":?=" else _UNARY
    elif before.text in ("!", "~", "++", "--"):
        left = _UNARY
    elif before.kind == "word" and before.text not in _NO_OPERAND:
        left = _POSTFIX
    if after.text in (".", "->", "::", "(", "[", "++", "--", "{") or after.kind in ("word", "number", "text"):
        right = _POSTFIX
    elif after.text in _BINARY:
        right = _BINARY[after.text]
    same_is_well = before.text in ("&&", "||", "?", ":", "=")
    if (left > inside or (left == inside and not same_is_well) or right > inside or
            (after.text == "?" and inside == _BINARY["?"])):
        raise Stale("no whole expression there, take more or less of it: `%s` after `%s`, before `%s`" %
                    (original, before.text, after.text))


# ---- constexpr


def head_of(tokens, i):
    """The first token of the declaration or statement that token i belongs to, brackets left aside."""
    depth = 0
    while i > 0:
        text = tokens[i - 1].text
        if text in (")", "]", "}"):
            # What is closed by a brace is a statement of its own, but for initial values.
            if text == "}" and depth == 0:
                return i
            depth += 1
        elif text in ("(", "[", "{"):
            if depth == 0 and text == "{":
                return i
            depth = max(0, depth - 1)
        elif depth == 0 and (text == ";" or (text == ":" and tokens[i - 2].text in ("public", "private", "protected"))):
            return i
        i -= 1
    return i


def enclosing_brace(tokens, i):
    """The index of the innermost brace that is open before token i; -1: none."""
    depth = 0
    for j in range(i - 1, -1, -1):
        if tokens[j].text == "}":
            depth += 1
        elif tokens[j].text == "{":
            if depth == 0:
                return j
            depth -= 1
    return -1


def is_class(tokens, brace):
    head = head_of(tokens, brace)
    texts = [t.text for t in tokens[head:brace]]
    return ("class" in texts or "struct" in texts) and "(" not in texts


def constexprs(tokens, first):
    """({index of a variable's constexpr: replacement}, whether a function's is in the way)."""
    variables, function = {}, False
    i = first
    while i >= 0:
        head = head_of(tokens, i)
        span = [j for j in range(head, i) if tokens[j].text == "constexpr"]
        for j in span:
            texts = [t.text for t in tokens[j:i]]
            if "=" in texts or "{" in texts:
                outer = enclosing_brace(tokens, head)
                inline = outer >= 0 and is_class(tokens, outer)
                variables[j] = "inline const" if inline else "const"
            elif "(" in texts:
                function = True
        i = enclosing_brace(tokens, i)
    return variables, function


def function_constexprs(tokens):
    """The indices of constexpr that stand before functions."""
    found = []
    for i, token in enumerate(tokens):
        if token.text != "constexpr" or (i and tokens[i - 1].text == "if"):
            continue
        for j in range(i + 1, len(tokens)):
            if tokens[j].text in ("=", ";", "{", "["):
                break
            if tokens[j].text == "(":
                found.append(i)
                break
            if tokens[j].text == "operator":
                found.append(i)
                break
    return found


# ---- rewriting

_SWITCH = (
    '#ifndef FORBEAR_MUTANT\n'
    '#include <cstdio>\n'
    '#include <cstdlib>\n'
    'namespace forbear_mutants {\n'
    'inline unsigned char reached[1 << 16];\n'
    'inline void Log() {\n'
    '  std::FILE* f = std::fopen(std::getenv("FORBEAR_REACHED"), "w");\n'
    '  for (int i = 0; i < 1 << 16; ++i) if (reached[i]) std::fprintf(f, "%d\\n", i);\n'
    '  std::fclose(f);\n'
    '}\n'
    'inline int Choose() {\n'
    '  const char* text = std::getenv("FORBEAR_MUTANT");\n'
    '  const int n = text == nullptr ? 0 : std::atoi(text);\n'
    '  if (n < 0) std::atexit(Log);\n'
    '  return n;\n'
    '}\n'
    'inline int alive = Choose();\n'
    'inline bool Is(int n) {\n'
    '  if (__builtin_expect(alive < 0, 0)) reached[n] = 1;\n'
    '  return alive == n;\n'
    '}\n'
    '}\n'
    '#define FORBEAR_MUTANT(n) (::forbear_mutants::Is(n))\n'
    '#endif\n')


def rewrite(text, planted):
    """The text with all of `planted`, [(number, Mutant)], in it; ({number: why it is stale})."""
    tokens = tokens_of(text)
    stale, sites = {}, collections.defaultdict(list)
    for number, mutant in planted:
        try:
            first, last = find(tokens, mutant.at, mutant.original)
            check_cut(tokens, first, last, mutant.original)
            if mutant.mutated and is_statement(mutant.mutated) != is_statement(mutant.original):
                raise Stale("a statement for an expression, or the other way round")
            if not mutant.mutated and not is_statement(mutant.original):
                raise Stale("an expression cannot just be gone: `%s`" % mutant.original)
            for a, b in sites:
                if a < first < b < last or first < a < last < b:
                    raise Stale("overlaps with another one: `%s`" % mutant.original)
            sites[first, last].append((number, mutant))
        except Stale as e:
            stale[number] = str(e)

    words, functions = {}, False
    for first, _ in sites:
        variables, function = constexprs(tokens, first)
        words.update(variables)
        functions = functions or function
    if functions:
        words.update((i, "inline") for i in function_constexprs(tokens))


    def plain(a, b):
        """The text from token a to before token b, words replaced."""
        if a == b:
            return ""
        out, at = [], tokens[a].start
        for i in sorted(i for i in words if a <= i < b):
            out += [text[at:tokens[i].start], words[i]]
            at = tokens[i].end
        return "".join(out) + text[at:tokens[b - 1].end]

    def render(a, b, inner):
        """As plain, with the sites `inner`, each with what is inside of it."""
        out, at = [], a
        position = tokens[a].start if a < b else 0
        for (first, last) in sorted(s for s in inner if not any(
                o != s and o[0] <= s[0] and s[1] <= o[1] for o in inner)):
            if at < first:
                out.append(text[position:tokens[at].start] + plain(at, first))
                position = tokens[first - 1].end
            out.append(text[position:tokens[first].start])
            out.append(choice(first, last, [s for s in inner if s != (first, last) and first <= s[0] and s[1] <= last]))
            at, position = last, tokens[last - 1].end
        if at < b:
            out.append(text[position:tokens[at].start] + plain(at, b))
        return "".join(out)

    def choice(first, last, inner):
        original = render(first, last, inner)
        group = sites[first, last]
        if is_statement(group[0][1].original):
            out = "{ "
            for number, mutant in group:
                out += "if (FORBEAR_MUTANT(%d)) { %s } else " % (number, mutant.mutated)
            return out + "{ " + original + " } }"
        return "(" + "".join("FORBEAR_MUTANT(%d) ? (%s) : " % (n, m.mutated) for n, m in group) + "(" + original + "))"

    if not tokens:
        return text, stale
    return (_SWITCH + text[:tokens[0].start] + render(0, len(tokens), list(sites)) + text[tokens[-1].end:]), stale
