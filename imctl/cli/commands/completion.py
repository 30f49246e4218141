"""`imctl completion`: what a shell's TAB key offers.

The scripts hold no list of their own: at each TAB they call the hidden command
`imctl __complete WORD...` with the words so far, the last one being the one
under the cursor. It answers with a line a candidate, `word TAB help`, after a
first line that says whether files fit too (`files` or `nothing`). So a new
option needs no new script, and node names are those of the running cluster.

What a value can be is taken from what the help shows for it: its metavar, or
the choices of its type.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from imctl.cli.context import DEFAULT_CLUSTER, Context, examples

if TYPE_CHECKING:
    from imctl.cluster.state import ClusterFolder

__all__ = ["Candidates", "complete", "completion_script", "register"]

_COMMAND = "__complete"


class Shell(StrEnum):
    """For which shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# bash cuts words at = and : too (COMP_WORDBREAKS); complete() puts `--cluster = b` together again.
_BASH = r"""# imctl's completion for bash: eval "$(imctl completion bash)" in ~/.bashrc
_imctl_completion() {
    local cur="${COMP_WORDS[COMP_CWORD]}" line kind=nothing
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $line ]]; then continue; fi
        case "$line" in
            :*) kind="${line#:}" ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ $kind == files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
    fi
}
complete -F _imctl_completion imctl
"""

_ZSH = r"""#compdef imctl
# imctl's completion for zsh: eval "$(imctl completion zsh)" in ~/.zshrc, after compinit
_imctl() {
    local line kind=nothing
    local -a found
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case "$line" in
            '') ;;
            :*) kind="${line#:}" ;;
            *) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( ${#found} )) && _describe 'imctl' found
    [[ $kind == files ]] && _files
}
compdef _imctl imctl
"""

_FISH = r"""# imctl's completion for fish: imctl completion fish | source, in ~/.config/fish/config.fish
function __imctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l kind nothing
    for line in (command $words[1] __complete -- $words[2..-1] 2>/dev/null)
        if string match -q ':*' -- $line
            set kind (string sub -s 2 -- $line)
        else if test -n "$line"
            echo $line
        end
    end
    if test $kind = files
        __fish_complete_path (commandline -ct)
    end
end
complete -c imctl -f -a '(__imctl_complete)'
"""

_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


@dataclass(frozen=True, slots=True)
class Candidates:
    """What fits the word under the cursor.

    Args:
        words: Each with its help, "" for none; all begin with the word.
        files: Whether names of files fit too.
    """

    words: Mapping[str, str]
    files: bool = False


def completion_script(shell: str) -> str:
    """Return what a shell evaluates to complete `imctl`."""
    return _SCRIPTS[Shell(shell)]


def complete(group: TyperGroup, words: Sequence[str], env: Mapping[str, str]) -> Candidates:
    """Return what can stand in place of the last word.

    Args:
        group: The application, `typer.main.get_command(app)`.
        words: The command line without `imctl`; the last word is the one under the cursor, maybe empty.
        env: For the name of the cluster.
    """
    line = _Line(group, _joined(words), env)
    found = line.candidates()
    before = line.before
    fitting = {before + word: text for word, text in found.words.items() if word.startswith(line.incomplete)}
    return Candidates(fitting, found.files)


def _joined(words: Sequence[str]) -> list[str]:
    """Return the words without the `=` that bash makes a word of its own."""
    found: list[str] = []
    for word in words:
        # `--cluster`, `=`, `b`: the same as `--cluster b`.
        if word == "=" and found and found[-1].startswith("--"):
            continue
        found.append(word)
    return [*found, ""] if words and words[-1] == "=" else found


class _Line:
    """A command line up to the cursor, read as the parser would read it, but forgiving."""

    def __init__(self, group: TyperGroup, words: Sequence[str], env: Mapping[str, str]) -> None:
        *done, self.incomplete = words or [""]
        self.before = ""
        self._group = group
        self._command: TyperCommand | None = None
        self._cluster = env.get("IMCTL_CLUSTER") or DEFAULT_CLUSTER
        self._given: set[str] = set()
        self._arguments: list[str] = []
        self._pending: TyperOption | None = None
        self._only_arguments = False
        for word in done:
            self._take(word)

    def _take(self, word: str) -> None:
        if self._pending is not None:
            self._value(self._pending, word)
            self._pending = None
        elif word == "--" and not self._only_arguments:
            self._only_arguments = True
        elif word.startswith("-") and len(word) > 1 and not self._only_arguments:
            name, equals, value = word.partition("=")
            option = self._options().get(name)
            self._given.add(name)
            if option is not None and not option.is_flag:
                if equals:
                    self._value(option, value)
                else:
                    self._pending = option
        elif self._command is None:
            found = self._group.commands.get(word)
            self._command = found if isinstance(found, TyperCommand) else None
            if self._command is None:
                self._only_arguments = True  # no such command: nothing more to offer
                self._arguments.append(word)
        else:
            self._arguments.append(word)

    def _value(self, option: TyperOption, value: str) -> None:
        if "--cluster" in option.opts:
            self._cluster = value

    def _options(self) -> dict[str, TyperOption]:
        """Return the options that may stand here by name; the global ones may stand anywhere."""
        levels = [self._group, *([self._command] if self._command is not None else [])]
        return {
            name: param
            for level in levels
            for param in level.params
            if isinstance(param, TyperOption) and not param.hidden
            for name in (*param.opts, *param.secondary_opts)
        }

    def candidates(self) -> Candidates:
        """Return what fits here, whatever the word under the cursor begins with."""
        if self._pending is not None:
            return self._values(self._pending)
        if self.incomplete.startswith("-") and not self._only_arguments:
            name, equals, value = self.incomplete.partition("=")
            option = self._options().get(name) if equals else None
            if option is not None and not option.is_flag:
                self.before, self.incomplete = f"{name}=", value
                return self._values(option)
            return Candidates(self._option_names())
        if self._command is None:
            if self._arguments:
                return Candidates({})
            return Candidates({n: _first_line(c.help) for n, c in self._group.commands.items() if not c.hidden})
        argument = self._argument()
        return Candidates({}) if argument is None else self._values(argument)

    def _option_names(self) -> dict[str, str]:
        found = {"--help": "Show what the command does and its options"}
        for name, option in self._options().items():
            repeatable = option.multiple
            used = self._given.intersection((*option.opts, *option.secondary_opts))
            if name.startswith("--") and (repeatable or not used):
                found[name] = option.help or ""
        return found

    def _argument(self) -> TyperArgument | None:
        assert self._command is not None
        places = [param for param in self._command.params if isinstance(param, TyperArgument)]
        for number, place in enumerate(places):
            if place.nargs == -1 or number >= len(self._arguments):
                return place
        return None

    def _values(self, param: TyperArgument | TyperOption) -> Candidates:
        """Return the values of an option or an argument."""
        if choices := _choices(param):
            return Candidates(dict.fromkeys(choices, ""))
        command = self._command.name if self._command is not None else ""
        shown = (param.metavar or param.name or "").strip("[].").upper()
        if shown == "OP" and command == "encode":
            return Candidates(_operations())
        if shown == "NODE":
            names = _logged_nodes(self._cluster) if command == "logs" else _running_nodes(self._cluster)
            taken = set(self._arguments)
            return Candidates({name: text for name, text in names.items() if name not in taken})
        if shown == "NAME" and "--cluster" in param.opts:
            return Candidates(_clusters())
        if shown == "SCENARIO":
            return Candidates(_scenarios(), files=True)
        return Candidates({}, files="FILE" in shown.split("|"))


def _choices(param: TyperArgument | TyperOption) -> list[str]:
    """Return the values of a parameter whose type is an enum."""
    # Typer 0.29 keeps the annotation, those before it made a choice of its values.
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    return [str(value) for value in getattr(getattr(param, "type", None), "choices", ())]


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _clusters() -> dict[str, str]:
    """Return the clusters of this user that are up."""
    from imctl.cluster.state import ClusterFolder, state_root

    root = state_root()
    names = sorted(path.parent.name for path in root.glob("*/state.json")) if root.is_dir() else []
    return {name: "" for name in names if _live_state(ClusterFolder(name)) is not None}


def _live_state(folder: ClusterFolder) -> Mapping[str, Any] | None:
    """Return a running cluster's state, None when there is none. Any: JSON."""
    from imctl.cluster.state import process_alive
    from imctl.errors import ImctlError

    try:
        state = folder.read()
    except ImctlError:  # damaged: the others are still worth offering
        return None
    if state is None:
        return None
    supervisor = state["supervisor"]
    return state if process_alive(supervisor["pid"], supervisor["start"]) else None


def _running_nodes(cluster: str) -> dict[str, str]:
    from imctl.cluster.state import ClusterFolder

    state = _live_state(ClusterFolder(cluster)) or {"nodes": ()}
    return {str(node["name"]): f"pid {node['pid']}" for node in state["nodes"]}


def _logged_nodes(cluster: str) -> dict[str, str]:
    from imctl.cluster.logs import log_nodes
    from imctl.cluster.state import ClusterFolder

    return dict.fromkeys(log_nodes(ClusterFolder(cluster).logs), "")


def _operations() -> dict[str, str]:
    from protocol.operation import Operation, operation_name

    return {operation_name(op): f"op {int(op)}" for op in Operation}


def _scenarios() -> dict[str, str]:
    from sim.language.shipped import shipped_scenarios, summary_of

    return {name: summary_of(path).partition(":")[0] for name, path in shipped_scenarios().items()}


def _lines(found: Candidates) -> Iterator[str]:
    yield f":{'files' if found.files else 'nothing'}"
    for word, text in found.words.items():
        yield f"{word}\t{text}"


def _quietly(find: Callable[[], Candidates]) -> Candidates:
    """Return what is found, nothing when that fails: an error would be printed into the line being typed."""
    try:
        return find()
    except Exception:
        return Candidates({})


def register(app: typer.Typer) -> None:
    """Add the command, and the hidden one that the scripts call."""

    @app.command(
        "completion",
        epilog=examples(
            'eval "$(imctl completion bash)"',
            'eval "$(imctl completion zsh)"',
            "imctl completion fish | source",
        ),
    )
    def completion(ctx: typer.Context, shell: Annotated[Shell, typer.Argument(help="Which shell")]) -> None:
        """Print the script that makes a shell complete imctl

        Commands, options, nodes of the running cluster, clusters and scenarios. Put the line of your shell, as
        below, into its start-up file.
        """
        Context.of(ctx).printer.write(completion_script(shell))

    @app.command(_COMMAND, hidden=True)
    def complete_command(ctx: typer.Context, words: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        """Answer a completion script: what fits in place of the last word"""
        import os

        group = ctx.find_root().command
        assert isinstance(group, TyperGroup)
        found = _quietly(lambda: complete(group, words or [""], os.environ))
        Context.of(ctx).printer.write("".join(f"{line}\n" for line in _lines(found)))
