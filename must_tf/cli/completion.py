"""Prints a script that completes verbs and flags in a shell.

    must completion bash

In bash: `source <(must completion bash)`. In zsh: `source <(must completion zsh)`. The line belongs into ~/.bashrc or
~/.zshrc.
"""

import importlib

from absl import flags

from must_tf.cli import app
from must_tf.cli.verbs import VERBS
from must_tf.errors import UserError, nearest

PLACE = "shell"  # the flag that an argument without a name is of
SHELLS = ("bash", "zsh")
FLAGS = flags.FlagValues()
_SHELL = flags.DEFINE_string("shell", None, "bash or zsh; `must completion SHELL` means the same.", flag_values=FLAGS)
flags.mark_flag_as_required("shell", flag_values=FLAGS)

_BASH = r"""_must() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flags
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
        [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
    else
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -F _must must
"""
_ZSH = r"""(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
_must() {{
    local -a flags
    if (( CURRENT == 2 )); then
        compadd -- {verbs}
        return
    fi
    case $words[2] in
{cases}
    esac
    if [[ $PREFIX == -* ]]; then
        compadd -S '' -- ${{(M)flags:#*=}}
        compadd -- ${{flags:#*=}}
    else
        _files
    fi
}}
compdef _must must
"""


def run(argv: list[str]) -> None:
    """Runs `must completion`."""
    app.run("must completion", __doc__, FLAGS, main, app.with_place(argv, PLACE))


def main() -> None:
    """Prints the script."""
    if _SHELL.value not in SHELLS:
        raise UserError(f"{_SHELL.value!r} received; expected bash or zsh; {nearest(_SHELL.value, SHELLS)}")
    print(script(_SHELL.value), end="")


def script(shell: str) -> str:
    """Returns the script of a shell."""
    template, opening, closing = (_BASH, '"', '"') if shell == "bash" else (_ZSH, "(", ")")
    cases = [f"        {verb}) flags={opening}{' '.join(words_of(verb))}{closing} ;;" for verb in VERBS]
    return template.format(verbs=" ".join(VERBS), cases="\n".join(cases))


def words_of(verb: str) -> list[str]:
    """Returns the flags of a verb as they are typed; those that take a value end with `=`."""
    known = importlib.import_module(f"must_tf.cli.{verb}").FLAGS
    typed = [[f"--{name}", f"--no{name}"] if known[name].boolean else [f"--{name}="] for name in known]
    return ["--help", *(word for words in typed for word in words)]
