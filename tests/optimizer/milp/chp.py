"""Combined heat and power: a committed unit, a boiler, and the heat of both."""

from __future__ import annotations

from random import Random

from tests.optimizer.builders import Document, series
from tests.optimizer.milp import generator, heat
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.units import chp


def formulate(f: Formulation, asset: Document) -> None:
    power, _ = generator.commit(f, asset)
    made = [{column: asset["heat_per_power"]} for column in power]
    boiler = asset.get("boiler")
    if boiler is not None:
        fuel = series(boiler.get("fuel_cost_per_mwh"), f.steps) / 1000
        fuel = fuel + boiler.get("carbon_g_per_kwh", 0.0) / 1000 * f.carbon_price_per_kg
        for t in range(f.steps):
            cost = float(fuel[t]) * f.hours / boiler.get("efficiency", 1.0)
            heat_kw = f.column(0, boiler["p_max_kw"], cost=cost)
            made[t][heat_kw] = 1.0
            f.control(t, heat_kw)
    store, dump = asset.get("heat_store"), asset.get("heat_dump", True)
    heat.balance(f, made, asset["heat_demand_kw"], store, dump, asset.get("priority", 1.0))


def draw(random: Random, name: str, place: Place) -> Document:
    boiler = {
        "p_max_kw": random.choice([4.0, 12.0]),
        "efficiency": random.choice([0.8, 1.0]),
        "fuel_cost_per_mwh": place.series(random, 10, 60),
        "carbon_g_per_kwh": random.choice([0.0, 200.0]),
    }
    return chp(
        name,
        connection=place.connection(random),
        **generator.unit(random),
        heat_per_power=random.choice([0.8, 1.5]),
        heat_demand_kw=place.series(random, 0, 15),
        heat_store=heat.draw_store(random),
        boiler=random.choice([None, boiler]),
        heat_dump=random.random() < 0.7,
        priority=random.choice([1.0, 2.0]),
    )
