"""TeX as words that a reader can read in a line, and type: `d_{\\min}` is d_min, `\\hat{x}_0` is x̂_0."""

import re

NAMES = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi
omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"""
GREEK = dict(zip(NAMES.split(), "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", strict=True))
# The book's own letters (_config.yml), and signs.
SIGNS = GREEK | {
    "varepsilon": "ε", "varphi": "φ", "vartheta": "ϑ", "eps": "ε", "sigmaB": "σ_B", "ell": "ℓ",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "sim": "~", "propto": "∝",
    "equiv": "≡", "ll": "≪", "gg": "≫", "to": "→", "rightarrow": "→", "mapsto": "↦", "leftarrow": "←", "implies": "⇒",
    "Rightarrow": "⇒", "iff": "⇔", "infty": "∞", "cdot": "·", "times": "×", "circ": "∘", "odot": "⊙", "otimes": "⊗",
    "pm": "±", "mp": "∓", "sum": "∑", "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇", "in": "∈", "notin": "∉",
    "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|",
    "Vert": "‖", "lVert": "‖", "rVert": "‖", "|": "‖", "ldots": "…", "dots": "…", "cdots": "…", "vdots": "…",
    "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "top": "⊤", "dagger": "†",
    "prime": "′", "star": "*", "ast": "*", "checkmark": "✓", "square": "□", "forall": "∀", "exists": "∃",
    "setminus": "∖", "emptyset": "∅", "degree": "°", "colon": ":", "lbrace": "(", "rbrace": ")",
    "{": "(", "}": ")", "%": "%", "#": "#",
    "$": "$", "&": "&", "_": "_", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", ">": " ", "quad": " ", "qquad": " ",
    "left": "", "right": "", "displaystyle": "", "textstyle": "", "limits": "", "nolimits": "", "nonumber": "",
}  # fmt: skip
SIGNS |= dict.fromkeys((f"{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")), "")
MARKS = {"hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303", "bar": "\u0304"}
MARKS |= {"overline": "\u0304", "dot": "\u0307", "vec": "\u20d7", "check": "\u030c"}
RAISED = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
FONTS = "boldsymbol|bm|math(?:bf|rm|cal|bb|sf|it|frak|op|tt)|operatorname\\*?|text(?:rm|bf|it|tt|sf)?|mbox|phantom|tag"
FONTS += "|underbrace|overbrace|underline|overset|underset|boxed|cancel|color|substack"
GROUP = r"\s*\{([^{}]*)\}"
# What takes an argument; all other commands are signs or names.
TAKING = re.compile(rf"(?:{FONTS}|[dtc]?frac|[dt]?binom|sqrt|{'|'.join(MARKS)})")
# Inner groups first, until nothing changes: (pattern, what becomes of it).
RULES = [
    (re.compile(rf"\\(?:{FONTS}){GROUP}"), r"\1"),
    (re.compile(rf"\\[dtc]?frac{GROUP}{GROUP}"), lambda m: f"{_whole(m[1])}/{_whole(m[2])}"),
    (re.compile(rf"\\[dt]?binom{GROUP}{GROUP}"), r"(\1 over \2)"),
    (re.compile(rf"\\sqrt{GROUP}"), lambda m: f"√{_whole(m[1])}"),
    (re.compile(rf"\\({'|'.join(MARKS)}){GROUP}"), lambda m: m[2] + MARKS[m[1]]),
    (re.compile(r"\^\{([-+0-9]+)\}"), lambda m: m[1].translate(RAISED)),
    (re.compile(r"\^\{([^{}]*)\}"), lambda m: f"^{m[1]}" if len(m[1].strip()) == 1 else f"^({m[1]})"),
    (re.compile(r"_\{([^{}]*)\}"), r"_\1"),
    (re.compile(r"(?<![\\A-Za-z_^}])\{([^{}]*)\}"), r"\1"),
]


def _whole(part: str) -> str:
    """A part of a fraction or under a root, in brackets where it is more than one thing."""
    return f"({part})" if re.search(r"[-+ ,=·]", part.strip()) else part


def readable(tex: str) -> str:
    r"""A formula, with or without its \( and \), as a line of plain text."""
    text = re.sub(r"^\s*\\[(\[]|\\[)\]]\s*$", "", tex)
    text = re.sub(r"\\(?:begin|end)\{[a-zA-Z]+\*?\}(?:\{[lcr|]*\})?", " ", text)
    text = re.sub(r"\\\\(?:\[[^\]]*\])?|(?<!\\)[&~]|\\label\{[^}]*\}", " ", text)
    text = re.sub(r"\\([a-zA-Z]+|[^a-zA-Z])( *)", _sign, text)
    # One letter needs no braces.
    text = re.sub(rf"\\(?:{FONTS})\s*(\w)", r"\1", text)
    text = re.sub(rf"\\({'|'.join(MARKS)})\s*(\w)", lambda m: m[2] + MARKS[m[1]], text)
    text = re.sub(r"\\[dt]?frac\s*(\w)\s*(\w)", r"\1/\2 ", text)
    text = re.sub(r"\\sqrt\s*(\w)", r"√\1", text)
    text = re.sub(r"\^([0-9])", lambda m: m[1].translate(RAISED), text)
    for _ in range(20):
        before = text
        for pattern, its in RULES:
            text = pattern.sub(its, text)
        if text == before:
            break
    text = re.sub(r"[{}\\]", "", text)
    return re.sub(r"\s+", " ", re.sub(r"\s+([,.;:)])", r"\1", text)).strip()


def _sign(command: re.Match) -> str:
    """A command as its sign, or as its name, apart from what it stands before; one that takes an argument stays."""
    name, after = command[1], command.string[command.end() : command.end() + 1]
    if TAKING.fullmatch(name):
        return command[0]
    if name in SIGNS:
        return SIGNS[name]
    return name + (" " if after.isalnum() or after == "\\" else "")
