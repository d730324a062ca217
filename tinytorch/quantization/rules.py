"""Given: rules, which say of single layers what differs from the rest of the call.

    quantize_static(model, batches, rules={Conv2d: INT8, "head.*": INT4, "head.out": "float"})

A key is a dotted name, a pattern of names with *, ? and [...], where a * passes dots, too, or a class. A name comes
before a pattern, a pattern before a class; of several patterns, or classes, the first one holds. One that holds for no
layer, because another of its kind stands before it, is refused like a name that the model does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any, TypeAlias, TypeGuard, TypeVar, cast

from tinytorch.core import Conv1d, Conv2d, Linear, Module
from tinytorch.core.checks import said, true_or_false
from tinytorch.core.layers import as_module
from tinytorch.quantization.arguments import measured_in, sensitivity_rows
from tinytorch.quantization.qparams import INT8, IntType, as_int_type

__all__ = ["Rule", "Rules"]


@dataclass(frozen=True)
class Rule:
    """What one layer gets. weight_type, activation_type None: those of the call.

    In `rules` it stands under the layer's name, a pattern or a class. Of those that fit, the exact name holds, else the
    first pattern, else the first class. A pattern that an earlier one leaves no layer is refused.

    dynamic: its inputs are quantized by their own range each time, although the call is static. "dynamic" is short for
    Rule(dynamic=True), INT4 for Rule(INT4); None and "float" leave the layer as it is. per_row: of a dynamic layer, as
    in quantize_dynamic; None: as the call says.
    """

    weight_type: IntType | None = None
    activation_type: IntType | None = None
    dynamic: bool = False
    per_row: bool | None = None

    def __post_init__(self) -> None:
        for int_type in (self.weight_type, self.activation_type):
            if int_type is not None:
                as_int_type(int_type)
        if true_or_false("dynamic", self.dynamic) and self.activation_type is not None:
            raise ValueError("a dynamic layer chooses uint8 codes by each input: leave its activation_type out")
        if self.per_row is not None:
            true_or_false("per_row", self.per_row)
            if not self.dynamic:
                raise ValueError("a scale for each row is chosen by a dynamic layer: Rule(dynamic=True, per_row=True)")


# A key is a str or a type[Module], which a Mapping's type could not say of the dict[str, IntType] of assign_bits; a
# text is "float" or "dynamic".
Rules: TypeAlias = Mapping[Any, Rule | IntType | str | None]

Assign = TypeVar("Assign", bound=Callable[..., dict[str, Any]])


def as_planned(assign: Assign) -> Assign:
    """A function from a table and a budget to types, whose types of inputs become rules for inputs.

    Types alone would be taken for those of weights.
    """

    @wraps(assign)
    def planned(table: Iterable[Any], byte_budget: int) -> dict[str, Any]:
        rows = sensitivity_rows(table)
        types: dict[str, Any] = assign(rows, byte_budget)
        if measured_in(rows[0]) == "weights":
            return types
        return {name: Rule(activation_type=int_type) for name, int_type in types.items()}

    return cast(Assign, planned)


WHO_KNOWS = {
    "dynamic": "quantize_static and quantize_dynamic",
    "activation_type": "quantize_static and prepare_qat",
}


class Wrapped(Module):
    """A layer within another module that watches or rounds what passes. Such a layer is not quantized where it is."""

    layer: Any


Weighted = Linear | Conv1d | Conv2d
QUANTIZABLE: tuple[type[Module], ...] = (Linear, Conv1d, Conv2d)


def is_quantizable(module: Module) -> TypeGuard[Weighted]:
    """Whether the module is a product of weights that has an integer form here: a Linear, Conv1d or Conv2d.

    A subclass is none: what its `forward` computes is not known.
    """
    return type(module) in QUANTIZABLE


def as_rule(value: Any) -> Rule | None:
    """A rule as it is given, in full; None leaves the layer in float. TypeError for what is no rule."""
    if value is None or isinstance(value, Rule):
        return value
    if isinstance(value, IntType):
        return Rule(value)
    if not isinstance(value, str) or value not in ("float", "dynamic"):
        wanted = 'an integer type such as INT8 or IntType(4), Rule(...), "float" or "dynamic"'
        raise TypeError(f"wanted {wanted}, got {said(value)}")
    return Rule(dynamic=True) if value == "dynamic" else None


def _matches(key: Any, name: str, module: Module) -> bool:
    if isinstance(key, type):
        return isinstance(module, key)
    return isinstance(key, str) and (key == name or fnmatchcase(name, key))


def _precedence(key: Any, name: str) -> int:
    return 2 if isinstance(key, type) else int(key != name)


def _first(keys: list[Any], name: str) -> Any:
    """Which of the keys that fit this layer holds."""
    return min(keys, key=lambda key: _precedence(key, name))


def rule_of(
    name: str,
    module: Module,
    default: IntType | None,
    rules: Rules | None,
    kinds: tuple[type[Module], ...] = QUANTIZABLE,
) -> Rule | None:
    """What this layer gets, with its weight type: by its rule, else the call's default; None: it stays in float."""
    if type(module) not in kinds:
        return None
    met = [key for key in rules or {} if _matches(key, name, module)]
    if not met:
        return None if default is None else Rule(as_int_type(default))
    rule = as_rule((rules or {})[_first(met, name)])
    if rule is None or rule.weight_type is not None:
        return rule
    if default is None:
        raise ValueError(f"a rule for {name!r} has no weight type, and the call's is None: Rule(INT8, ...) gives one")
    return replace(rule, weight_type=as_int_type(default))


def rule_for(
    name: str,
    module: Module,
    default: IntType | None,
    rules: Rules | None,
    kinds: tuple[type[Module], ...] = QUANTIZABLE,
) -> IntType | None:
    """The weight type for this module: by its rule, else the default; None: leave it in float."""
    rule = rule_of(name, module, default, rules, kinds)
    return None if rule is None else rule.weight_type


def is_per_row(name: str, module: Module, default: bool, rules: Rules | None) -> bool:
    """Whether a layer, if it is dynamic, gets a scale for each row: by its rule, else the call's default."""
    rule = rule_of(name, module, INT8, rules)
    return default if rule is None or rule.per_row is None else rule.per_row


def check_rules(
    model: Module,
    rules: Rules | None,
    default: IntType | None = INT8,
    knows: Collection[str] = (),
    kinds: tuple[type[Module], ...] = QUANTIZABLE,
) -> None:
    """Refuses what cannot be quantized as it is asked. knows: what of "dynamic" and "activation_type" the caller does.
    kinds: of the layers that it quantizes.

    TypeError for what is no Module or no rule, ValueError where no layer can be quantized, or is to be, or where one is
    prepared for training, or for a rule that has no effect, KeyError for one that meets no layer that can be quantized.
    """
    if not isinstance(rules, Mapping | None):
        raise TypeError(f"rules must be a mapping from names of layers to types, got {said(rules)}")
    modules = dict(as_module(model).named_modules())
    wrapped = [name for name, m in modules.items() if isinstance(m, Wrapped)]
    if wrapped:
        raise ValueError(f"layer {wrapped[0]!r} is prepared for training: convert(model) makes its integer form")
    layers = {name: m for name, m in modules.items() if type(m) in kinds}
    if not layers:
        *others, last = (kind.__name__ for kind in kinds)
        raise ValueError(f"nothing to quantize: the model holds no {', '.join(others)} or {last}, subclasses aside")
    for key, value in (rules or {}).items():
        if not any(_matches(key, name, m) for name, m in layers.items()):
            raise KeyError(f"a rule names {_said(key)}, but the layers that can be quantized are {', '.join(layers)}")
        rule = as_rule(value)
        for what, who in WHO_KNOWS.items():
            if rule is not None and getattr(rule, what) and what not in knows:
                raise ValueError(f"the rule for {_said(key)} asks for {what}, which only {who} know")
    _check_effect(rules or {}, layers)
    found = {name: rule_of(name, m, default, rules, kinds) for name, m in layers.items()}
    if knows:  # it makes products of codes
        _check_signed(found)
    if not any(found.values()):
        why = "the type is None, and no rule gives one to a layer" if default is None else "rules leave all in float"
        raise ValueError(f"nothing to quantize: {why}")


def _check_effect(rules: Rules, layers: Mapping[str, Module]) -> None:
    """ValueError for a pattern or class that holds for no layer, because another one of its kind comes before it.

    A class may leave all its layers to patterns, and either of them to names: they say more.
    """
    met = {name: [key for key in rules if _matches(key, name, m)] for name, m in layers.items()}
    holds = {name: _first(keys, name) for name, keys in met.items() if keys}
    for key in rules:
        before = [holds[name] for name, keys in met.items() if key in keys]
        others = [k for k in before if k not in layers and isinstance(k, type) == isinstance(key, type)]
        if key not in before and others:
            order = "an exact name, then the first pattern, then the first class holds"
            raise ValueError(
                f"the rule for {_said(key)} has no effect, for {_said(others[0])} comes before it: {order}"
            )


def _said(key: Any) -> str:
    return key.__name__ if isinstance(key, type) else repr(key)


def _check_signed(found: Mapping[str, Rule | None]) -> None:
    """ValueError for weights of an unsigned type: products of codes want theirs with zero point 0."""
    for name, rule in found.items():
        if rule is not None and rule.weight_type is not None and not rule.weight_type.signed:
            got = f"the weights of layer {name!r} need a signed type, whose zero point is 0, got {rule.weight_type}"
            raise ValueError(f"{got}: {IntType(rule.weight_type.bits)}, or quantize_weight_only, which takes it")
